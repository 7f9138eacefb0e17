// A device for the tests: the host's memory under another name, with the plain kernels (`ref`) for its own. There are
// two of them. Memory is filled with NaN when it is handed out and when it comes back.
#include <atomic>
#include <cstdlib>
#include <cstring>

#include "pyformer/base/device.h"
#include "pyformer/ops/kernel_tables.h"

namespace {

std::atomic<int64_t> live_bytes{0};

pyformer::Failure allocate(int64_t bytes, int, void** data) {
  *data = nullptr;
  if (bytes > (int64_t(1) << 34)) return nullptr;  // 16 GiB: what this device calls out of memory
  *data = std::aligned_alloc(64, size_t(bytes + 64) / 64 * 64);
  if (!*data) return nullptr;
  std::memset(*data, 0xff, size_t(bytes));
  live_bytes += bytes;
  return nullptr;
}

void release(void* data, int64_t bytes, int, void*) {
  std::memset(data, 0xff, size_t(bytes));
  std::free(data);
  live_bytes -= bytes;
}

pyformer::Failure copy(void* to, const void* from, int64_t bytes, pyformer::Direction, int) {
  std::memcpy(to, from, size_t(bytes));
  return nullptr;
}

pyformer::Failure fill(void* to, uint8_t value, int64_t bytes, int) {
  std::memset(to, value, size_t(bytes));
  return nullptr;
}

constexpr pyformer::Failure kNoStreams = "this device has no streams", kNoGraphs = "this device records no graphs";

constexpr pyformer::DeviceApi api = {
    .abi = pyformer::DeviceApi::kAbi,
    .bytes = sizeof(pyformer::DeviceApi),
    .kind = "second",
    .dlpack_type = 0,
    .devices = {.count = [] { return 2; },
                .why = []() -> pyformer::Failure { return nullptr; },
                .use = [](int) -> pyformer::Failure { return nullptr; },
                .properties = [](int, pyformer::DeviceProperties* found) -> pyformer::Failure {
                  *found = {"host memory", int64_t(1) << 34, 0, 0, 0};
                  return nullptr;
                }},
    .memory = {.allocate = &allocate,
               .release = &release,
               .copy = &copy,
               .fill = &fill,
               .statistics = [](int, pyformer::MemoryStatistics* found) { *found = {live_bytes, 0, 0}; },
               .trim = [](int) -> pyformer::Failure { return nullptr; }},
    .streams = {.make = [](int, void**) { return kNoStreams; },
                .destroy = [](void*, int) {},
                .current = [](int) -> void* { return nullptr; },
                .order = [](void*, void*, int) -> pyformer::Failure { return nullptr; },
                .enter = [](void*, int, void**) { return kNoStreams; },
                .wait = [](int) -> pyformer::Failure { return nullptr; }},
    .graphs = {.begin = [](int) { return kNoGraphs; },
               .end = [](int, void**) { return kNoGraphs; },
               .launch = [](void*, int) { return kNoGraphs; },
               .destroy = [](void*, int) {}},
    .table = [](const char* op, int64_t bytes) { return pyformer::kernel_table(op, bytes, pyformer::Isa::ref); }};

}  // namespace

extern "C" const pyformer::DeviceApi* pyformer_device_api() { return &api; }
extern "C" int64_t second_device_live_bytes() { return live_bytes; }
