#include "pyformer/base/cgroup.h"

#include <fstream>
#include <sstream>

namespace pyformer {
namespace {

// Whether a comma-separated list ("cpu,cpuacct") names the controller.
bool names(const std::string& list, const std::string& controller) {
  std::istringstream in(list);
  for (std::string name; std::getline(in, name, ',');)
    if (name == controller) return true;
  return false;
}

// mount/a/b, mount/a, mount
void add_with_parents(const std::string& mount, std::string path, std::vector<std::string>& folders) {
  while (path.size() > 1) {
    folders.push_back(mount + path);
    path.resize(path.rfind('/'));
  }
  folders.push_back(mount);
}

}  // namespace

std::vector<std::string> cgroup_folders(const std::string& root, const std::string& controller) {
  std::vector<std::string> folders;
  std::ifstream in(root + "/proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {  // "0::/path" (v2) or "4:cpu,cpuacct:/path" (v1)
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos || second + 1 >= line.size() || line[second + 1] != '/') continue;
    const std::string list = line.substr(first + 1, second - first - 1), path = line.substr(second + 1);
    if (list.empty()) {
      add_with_parents(root + "/sys/fs/cgroup", path, folders);
      add_with_parents(root + "/sys/fs/cgroup/unified", path, folders);
    } else if (names(list, controller)) {
      add_with_parents(root + "/sys/fs/cgroup/" + controller, path, folders);
      add_with_parents(root + "/sys/fs/cgroup/" + list, path, folders);
    }
  }
  return folders;
}

}  // namespace pyformer
