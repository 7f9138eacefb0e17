// The library of a CUDA device: memory that is kept for reuse, streams of threads, and the kernel tables, as a
// DeviceApi.
#include <pthread.h>

#include <array>
#include <atomic>
#include <map>
#include <mutex>
#include <new>
#include <unordered_map>
#include <vector>

#include "pyformer/cuda/backend.h"
#include "pyformer/cuda/kernel_tables.h"

namespace pyformer::cuda {
namespace {

constexpr int kMaxDevices = 64;
constexpr Failure kForked =
    "the process was forked after it had used this device, which a child cannot share; start children by spawn";

// ---- processes and threads ----------------------------------------------------------------------------------------

std::atomic<bool> in_forked_child{false};

void watch_forks() {
  static const int registered = pthread_atfork(nullptr, nullptr, [] { in_forked_child = true; });
  (void)registered;
}

thread_local int current_device = 0;
thread_local std::array<Stream, kMaxDevices> streams{};

Failure use(int device) {
  if (in_forked_child) return kForked;
  watch_forks();
  current_device = device;
  return use_device(device);
}

// ---- memory -------------------------------------------------------------------------------------------------------

// Blocks come in classes, four to a power of two, so that a block fits the next tensor of about that size.
int64_t block_bytes(int64_t bytes) {
  constexpr int64_t kLeast = 512;
  if (bytes <= kLeast) return kLeast;
  const int64_t step = int64_t(1) << (61 - __builtin_clzll(uint64_t(bytes - 1)));
  return (bytes + step - 1) / step * step;
}

struct Block {
  int64_t bytes;
  Stream stream;  // on which it was handed out, and to which it returns
};

struct DevicePool {
  std::mutex mutex;
  std::unordered_map<void*, Block> live;
  std::map<std::pair<Stream, int64_t>, std::vector<void*>> free;
  MemoryStatistics statistics{};
};
DevicePool pools[kMaxDevices];

Failure trim(int device) {
  if (const Failure failure = use(device)) return failure;
  DevicePool& pool = pools[device];
  const std::lock_guard lock(pool.mutex);
  // What is queued may still use them.
  for (const auto& [place, blocks] : pool.free)
    if (!blocks.empty())
      if (const Failure failure = wait_for_stream(device, place.first)) return failure;
  for (auto& [place, blocks] : pool.free)
    for (void* block : blocks) give_memory_back(device, block);
  pool.free.clear();
  pool.statistics.cached = 0;
  return nullptr;
}

// A block that waited to be reused, or null.
void* take_cached(DevicePool& pool, Stream stream, int64_t bytes) {
  const auto found = pool.free.find({stream, bytes});
  if (found == pool.free.end() || found->second.empty()) return nullptr;
  void* const data = found->second.back();
  found->second.pop_back();
  pool.statistics.cached -= bytes;
  return data;
}

void* take_block(int device, Stream stream, int64_t bytes) {
  DevicePool& pool = pools[device];
  const std::lock_guard lock(pool.mutex);
  void* data = take_cached(pool, stream, bytes);
  if (!data) data = take_memory(device, bytes);
  if (!data) return nullptr;
  pool.live[data] = {bytes, stream};
  pool.statistics.in_use += bytes;
  if (pool.statistics.in_use > pool.statistics.peak) pool.statistics.peak = pool.statistics.in_use;
  return data;
}

Failure allocate(int64_t bytes, int device, void** data) {
  *data = nullptr;
  if (const Failure failure = use(device)) return failure;
  if (bytes > int64_t(1) << 46) return nullptr;
  const int64_t size = block_bytes(with_guard(bytes));
  const Stream stream = streams[size_t(device)];
  *data = take_block(device, stream, size);
  if (!*data) {
    if (const Failure failure = trim(device)) return failure;
    *data = take_block(device, stream, size);
  }
  if (*data) hand_out(device, *data, bytes, stream);
  return nullptr;
}

void release(void* data, int64_t bytes, int device) {
  if (in_forked_child) return;
  DevicePool& pool = pools[device];
  const std::lock_guard lock(pool.mutex);
  const auto found = pool.live.find(data);
  const Block block = found->second;
  pool.live.erase(found);
  // This thread's stream may still use it, so the next on its own stream must wait.
  const Stream here = streams[size_t(device)];
  if (here != block.stream && !use(device)) (void)order_streams(device, here, block.stream);
  take_back(device, data, bytes, block.stream);
  pool.free[{block.stream, block.bytes}].push_back(data);
  pool.statistics.in_use -= block.bytes;
  pool.statistics.cached += block.bytes;
}

void statistics(int device, MemoryStatistics* found) {
  const std::lock_guard lock(pools[device].mutex);
  *found = pools[device].statistics;
}

Failure copy(void* to, const void* from, int64_t bytes, Direction direction, int device) {
  if (const Failure failure = use(device)) return failure;
  return copy_memory(to, from, bytes, direction, streams[size_t(device)]);
}

Failure fill(void* to, uint8_t value, int64_t bytes, int device) {
  if (const Failure failure = use(device)) return failure;
  return bytes ? fill_memory(to, value, bytes, streams[size_t(device)]) : nullptr;
}

// ---- streams ------------------------------------------------------------------------------------------------------

Failure make(int device, void** stream) {
  if (const Failure failure = use(device)) return failure;
  return make_stream(device, stream);
}

// Its cached blocks belong to the device's own stream from now on.
void destroy(void* stream, int device) {
  if (in_forked_child) return;
  DevicePool& pool = pools[device];
  {
    const std::lock_guard lock(pool.mutex);
    (void)order_streams(device, stream, nullptr);
    for (auto& [data, block] : pool.live)
      if (block.stream == stream) block.stream = nullptr;
    for (auto place = pool.free.begin(); place != pool.free.end();) {
      if (place->first.first == stream) {
        auto& own = pool.free[{nullptr, place->first.second}];
        own.insert(own.end(), place->second.begin(), place->second.end());
        place = pool.free.erase(place);
      } else {
        ++place;
      }
    }
  }
  destroy_stream(stream);
}

Failure enter(void* stream, int device, void** before) {
  if (const Failure failure = use(device)) return failure;
  *before = streams[size_t(device)];
  streams[size_t(device)] = stream;
  return order_streams(device, *before, stream);
}

Failure wait(int device) {
  if (const Failure failure = use(device)) return failure;
  return wait_for_stream(device, streams[size_t(device)]);
}

Failure properties(int device, DeviceProperties* found) {
  if (const Failure failure = use(device)) return failure;
  return properties_of(device, found);
}

// The driver is started by it, and a child cannot share that.
int count() {
  if (in_forked_child) return 0;
  watch_forks();
  return device_count() < kMaxDevices ? device_count() : kMaxDevices;
}

Failure why() { return in_forked_child ? kForked : why_no_device(); }

}  // namespace

Scratch::Scratch(int64_t bytes) : device_(current_device), bytes_(bytes) {
  if (allocate(bytes_, device_, &data_) || !data_) throw std::bad_alloc();
}
Scratch::~Scratch() { release(data_, bytes_, device_); }

Stream current_stream() { return streams[size_t(current_device)]; }

}  // namespace pyformer::cuda

extern "C" __attribute__((visibility("default"))) const pyformer::DeviceApi* pyformer_device_api() {
  using namespace pyformer::cuda;
  static const pyformer::DeviceApi api = {
      .abi = pyformer::DeviceApi::kAbi,
      .bytes = sizeof(pyformer::DeviceApi),
      .kind = kKind,
      .devices = {.count = &count, .why = &why, .use = &use, .properties = &properties},
      .memory = {.allocate = &allocate,
                 .release = &release,
                 .copy = &copy,
                 .fill = &fill,
                 .statistics = &statistics,
                 .trim = &trim},
      .streams = {.make = &make, .destroy = &destroy, .enter = &enter, .wait = &wait},
      .table = &kernel_table};
  return &api;
}
