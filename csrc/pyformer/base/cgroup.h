// Limits that Linux control groups (v1 and v2) put on this process. Empty elsewhere.
#pragma once
#include <string>
#include <vector>

namespace pyformer {

// The folders of the groups this process is in, for a controller ("cpu", "memory"), innermost first, parents after.
// root stands before /proc and /sys.
std::vector<std::string> cgroup_folders(const std::string& root, const std::string& controller);

}  // namespace pyformer
