#include "pyformer/base/device.h"

#include <dlfcn.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <vector>

#include "pyformer/base/allocator.h"
#include "pyformer/base/error.h"
#include "pyformer/base/recording.h"
#include "pyformer/base/thread_pool.h"

namespace pyformer {

namespace {

// body(first byte, count) for pieces of a block: large ones on several threads, with Ctrl-C noticed in between.
template <class Body>
void for_each_piece(int64_t bytes, const Body& body) {
  constexpr int64_t kPieceBytes = int64_t(1) << 26;  // one thread fills as fast as several
  if (bytes <= kPieceBytes) return body(0, size_t(bytes));
  parallel_for(bytes, kPieceBytes, [&](int64_t begin, int64_t end) { body(begin, size_t(end - begin)); });
}

Failure copy_on_host(void* to, const void* from, int64_t bytes, Direction, int) {
  for_each_piece(bytes, [=](int64_t first, size_t count) {
    std::memcpy(static_cast<char*>(to) + first, static_cast<const char*>(from) + first, count);
  });
  return nullptr;
}

Failure fill_on_host(void* to, uint8_t value, int64_t bytes, int) {
  for_each_piece(bytes,
                 [=](int64_t first, size_t count) { std::memset(static_cast<char*>(to) + first, value, count); });
  return nullptr;
}

Failure allocate_on_host(int64_t bytes, int, void** data) {
  *data = allocate(bytes);
  return nullptr;
}

constexpr Failure kNoStreams = "the CPU has no streams", kNoGraphs = "the CPU records no graphs";

constexpr DeviceApi kHost = {
    .abi = DeviceApi::kAbi,
    .bytes = sizeof(DeviceApi),
    .kind = "cpu",
    .dlpack_type = 1,
    .devices = {.count = [] { return 1; },
                .why = []() -> Failure { return nullptr; },
                .use = [](int) -> Failure { return nullptr; },
                .properties = [](int, DeviceProperties* found) -> Failure {
                  *found = {};
                  return nullptr;
                }},
    .memory = {.allocate = &allocate_on_host,
               .release = [](void* data, int64_t bytes, int, void*) { deallocate(data, bytes); },
               .copy = &copy_on_host,
               .fill = &fill_on_host,
               .statistics = [](int, MemoryStatistics* found) { *found = {}; },
               .trim = [](int) -> Failure { return nullptr; }},
    .streams = {.make = [](int, void**) { return kNoStreams; },
                .destroy = [](void*, int) {},
                .current = [](int) -> void* { return nullptr; },
                .order = [](void*, void*, int) -> Failure { return nullptr; },
                .enter = [](void*, int, void**) { return kNoStreams; },
                .wait = [](int) -> Failure { return nullptr; }},
    .graphs = {.begin = [](int) { return kNoGraphs; },
               .end = [](int, void**) { return kNoGraphs; },
               .launch = [](void*, int) { return kNoGraphs; },
               .destroy = [](void*, int) {}},
    .table = [](const char*, int64_t) -> const void* { return nullptr; }};

// Kinds in the order of their numbers; entries never change once they are counted.
constexpr int kMaxKinds = 8;
std::array<const DeviceApi*, kMaxKinds> kinds = {&kHost};
std::atomic<int> kind_count{1};
std::mutex opening;

int find_kind(const std::string& kind) {
  for (int i = 0; i < kind_count.load(std::memory_order_acquire); ++i)
    if (kind == kinds[size_t(i)]->kind) return i;
  return -1;
}

// The folder of this library, and those that PYFORMER_DEVICE_PATH names, which come first.
std::vector<std::filesystem::path> library_folders() {
  std::vector<std::filesystem::path> folders;
  if (const char* path = std::getenv("PYFORMER_DEVICE_PATH")) {
    std::string rest = path;
    for (size_t colon; (colon = rest.find(':')) != std::string::npos; rest.erase(0, colon + 1))
      folders.emplace_back(rest.substr(0, colon));
    folders.emplace_back(rest);
  }
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&library_folders), &info) && info.dli_fname)
    folders.push_back(std::filesystem::path(info.dli_fname).parent_path());
  return folders;
}

std::string library_name(std::string kind) {
  for (char& c : kind)
    if (c == ':') c = '_';
  return "libpyformer_" + kind + ".so";
}

[[noreturn]] void refuse(const std::string& wanted, const std::string& why) {
  throw ValueError(cat("device: '", wanted, "' is not available: ", why));
}
int count_devices(const DeviceApi& api, const std::string& wanted) {
  const int count = api.devices.count();
  if (count > 0) return count;
  const Failure why = api.devices.why();
  refuse(wanted, why ? why : "no such device was found");
}

// The API that a kind's library brings. ValueError says why the device that is wanted can't be had.
const DeviceApi* open_library(const std::string& kind, const std::string& wanted) {
  for (const std::filesystem::path& folder : library_folders()) {
    const std::filesystem::path file = folder / library_name(kind);
    std::error_code ignored;
    if (folder.empty() || !std::filesystem::exists(file, ignored)) continue;
    void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) refuse(wanted, dlerror());
    const auto get = reinterpret_cast<const DeviceApi* (*)()>(dlsym(library, "pyformer_device_api"));
    const DeviceApi* api = get ? get() : nullptr;
    if (!api || api->abi != DeviceApi::kAbi || api->bytes != sizeof(DeviceApi) || kind != api->kind)
      refuse(wanted, cat(file.filename().string(), " belongs to another version of pyformer"));
    (void)count_devices(*api, wanted);
    return api;
  }
  refuse(
      wanted,
      kind == "cuda"
          ? "this build of pyformer has no CUDA core (libpyformer_cuda.so); the extra `pyformer[cuda]` brings it, or, "
            "with the CUDA toolkit installed, `pip install -C cmake.define.PYFORMER_CUDA=ON .` in pyformer's sources"
          : cat("this build of pyformer has no library for it (", library_name(kind), ")"));
}

int open_kind(const std::string& kind, const std::string& wanted) {
  const std::lock_guard lock(opening);
  if (const int known = find_kind(kind); known >= 0) return known;
  const int number = kind_count.load(std::memory_order_relaxed);
  if (number == kMaxKinds) throw ValueError(cat("device: '", kind, "': too many kinds of device"));
  kinds[size_t(number)] = open_library(kind, wanted);
  kind_count.store(number + 1, std::memory_order_release);
  return number;
}

bool is_kind_name(const std::string& kind) {
  const auto is_lower = [](char c) { return c >= 'a' && c <= 'z'; };
  if (kind.empty() || !is_lower(kind.front()) || !is_lower(kind.back())) return false;
  for (char c : kind)
    if (!is_lower(c) && c != ':' && c != '_') return false;
  return true;
}

bool may_be_opened(const std::string& kind) {
  if (kind == "cuda" || kind == "cuda:emulated") return true;
  for (const std::filesystem::path& folder : library_folders()) {
    std::error_code ignored;
    if (is_kind_name(kind) && std::filesystem::exists(folder / library_name(kind), ignored)) return true;
  }
  return false;
}

}  // namespace

std::string name(Device device) {
  const std::string kind = device_api(device).kind;
  const bool plain = device.is_cpu() || (device.index == 0 && kind.find(':') != std::string::npos);
  return plain ? kind : cat(kind, ':', int(device.index));
}

Device device_from_name(const std::string& wanted) {
  std::string kind = wanted;
  int index = 0;
  if (const size_t colon = wanted.rfind(':'); colon != std::string::npos && colon + 1 < wanted.size()) {
    const std::string digits = wanted.substr(colon + 1);
    if (digits.find_first_not_of("0123456789") == std::string::npos && digits.size() <= 3) {
      kind = wanted.substr(0, colon);
      index = std::stoi(digits);
    }
  }
  int number = find_kind(kind);
  if (number < 0) {
    if (!may_be_opened(kind)) throw ValueError(cat("device: expected 'cpu' or 'cuda', got '", wanted, "'"));
    number = open_kind(kind, wanted);
  }
  const int count = count_devices(*kinds[size_t(number)], wanted);
  if (index >= count || index > 127)
    throw ValueError(
        cat("device: '", wanted, "' is not there: ", kind, " has ", count, count == 1 ? " device" : " devices"));
  return {uint8_t(number), int8_t(index)};
}

Device device_of_dlpack(int type, int index) {
  constexpr int kCuda = 2;
  if (type == kCuda) return device_from_name(cat("cuda:", index));
  for (int i = 0; i < kind_count.load(std::memory_order_acquire); ++i)
    if (kinds[size_t(i)]->dlpack_type == type)
      return device_from_name(i == 0 ? "cpu" : cat(kinds[size_t(i)]->kind, ':', index));
  throw ValueError(cat("from_dlpack: no device of DLPack's type ", type, " is known"));
}

Device default_device() {
  const char* wanted = std::getenv("PYFORMER_DEVICE");
  if (!wanted || !*wanted) return kCpu;
  try {
    return device_from_name(wanted);
  } catch (const ValueError& error) {
    throw ValueError(cat("PYFORMER_DEVICE: ", error.what()));
  }
}

const DeviceApi& device_api(Device device) { return *kinds[device.kind]; }

void throw_if(Failure failure, Device device) {
  if (failure) throw std::runtime_error(cat(name(device), ": ", failure));
}

void use(Device device) { throw_if(device_api(device).devices.use(device.index), device); }

void* allocate_on(Device device, int64_t bytes) {
  if (bytes < 0) throw ValueError(cat("allocate: expected 0 bytes or more, got ", bytes));
  void* data = nullptr;
  throw_if(device_api(device).memory.allocate(bytes, device.index, &data), device);
  if (!data) throw OutOfMemory(cat(name(device), ": no memory for ", bytes, " bytes"));
  return data;
}

void release_on(Device device, void* data, int64_t bytes, void* stream) noexcept {
  device_api(device).memory.release(data, bytes, device.index, stream);
}

namespace {
struct HostCopy {
  void* to;
  const void* from;
  int64_t bytes;
};
struct HostFill {
  void* to;
  int64_t bytes;
  uint8_t value;
};

// Notes what happens within the CPU's memory.
template <class Args>
void note_on_host(bool on_host, const Args& args, Recording::Function function) {
  Recording* const r = recording();
  if (!r) return;
  if (!on_host) return r->refuse("memory of another device is used");
  r->note("copy", function, nullptr, DType::uint8, -1, 0, args);
}
}  // namespace

void copy_between(Device to_device, void* to, Device from_device, const void* from, int64_t bytes) {
  if (bytes == 0) return;
  const bool to_host = to_device.is_cpu(), from_host = from_device.is_cpu();
  if (!to_host && !from_host && to_device != from_device)
    throw ValueError(
        cat("copy: from ", name(from_device), " to ", name(to_device), " goes by the CPU; copy there first"));
  const Direction direction = to_host == from_host ? Direction::within_device
                              : to_host            ? Direction::to_host
                                                   : Direction::to_device;
  const Device device = to_host ? from_device : to_device;
  note_on_host(to_host && from_host, HostCopy{to, from, bytes},
               [](const Recording::Call&, const void* args, int64_t, int64_t) {
                 const auto& a = *static_cast<const HostCopy*>(args);
                 (void)copy_on_host(a.to, a.from, a.bytes, Direction::within_device, 0);
               });
  throw_if(device_api(device).memory.copy(to, from, bytes, direction, device.index), device);
}

void fill_on(Device device, void* to, uint8_t value, int64_t bytes) {
  note_on_host(device.is_cpu(), HostFill{to, bytes, value},
               [](const Recording::Call&, const void* args, int64_t, int64_t) {
                 const auto& a = *static_cast<const HostFill*>(args);
                 (void)fill_on_host(a.to, a.value, a.bytes, 0);
               });
  throw_if(device_api(device).memory.fill(to, value, bytes, device.index), device);
}

void wait_for(Device device) { throw_if(device_api(device).streams.wait(device.index), device); }

}  // namespace pyformer
