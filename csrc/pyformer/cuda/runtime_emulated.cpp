// The backend on the host: its memory, and the kernels under emulation. A stream is a queue that is worked off only
// when somebody waits for it, so that a wait that is missing is seen. Memory is NaN whenever it changes hands.
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "pyformer/cuda/backend.h"
#include "pyformer/cuda/emulated_count.h"

namespace pyformer::cuda {

const char* const kKind = "cuda:emulated";
const int kDlpackType = 12;  // kDLExtDev

namespace {

constexpr int kDevices = 2;
constexpr int64_t kMemoryBytes = int64_t(1) << 32;  // of one device
constexpr int64_t kGuardBytes = 64;
constexpr unsigned char kGuard = 0xa5;

using Work = std::function<void()>;
using Recorded = std::vector<Work>;

struct Queue {
  std::deque<Work> work;
  std::shared_ptr<Recorded> recorded;  // where work goes instead while a graph is recorded
  int64_t begun = 0, queued = 0;       // all that was ever done, or is being done; all that was ever queued
};

// Of all devices and threads: one kernel runs at a time.
std::recursive_mutex mutex;
using Lock = std::lock_guard<std::recursive_mutex>;

Queue own_queues[kDevices];
thread_local int current = 0;
thread_local int64_t waits = 0;  // of the host for a device
int64_t used_bytes[kDevices];
std::map<const char*, int64_t> blocks;                      // of all devices' memory: start and size
const char *pinned_begin = nullptr, *pinned_end = nullptr;  // memory of the host that a test says is pinned

// 1 and 2 are CUDA's names of the device's own and of a thread's own in exchange with other libraries.
Queue& queue_of(int device, Stream stream) {
  thread_local Queue threads_own[kDevices];
  if (stream == reinterpret_cast<Stream>(2)) return threads_own[device];
  return reinterpret_cast<uintptr_t>(stream) > 1 ? *static_cast<Queue*>(stream) : own_queues[device];
}

void enqueue(int device, Stream stream, Work work) {
  const Lock lock(mutex);
  Queue& queue = queue_of(device, stream);
  if (queue.recorded) return queue.recorded->push_back(std::move(work));
  queue.work.push_back(std::move(work));
  ++queue.queued;
}

// Does the first `count` that were queued. What raises ends the queue.
void work_off(Queue& queue, int64_t count) {
  while (queue.begun < count && !queue.work.empty()) {
    const Work work = std::move(queue.work.front());
    queue.work.pop_front();
    ++queue.begun;
    try {
      work();
    } catch (...) {
      queue.begun += int64_t(queue.work.size());
      queue.work.clear();
      throw;
    }
  }
}

Failure work_off(Queue& queue) {
  static thread_local std::string text;
  const Lock lock(mutex);
  try {
    work_off(queue, queue.queued);
  } catch (const std::exception& error) {
    text = error.what();
    return text.c_str();
  }
  return nullptr;
}

const bool launches_are_queued = [] {
  emulated::submit = [](void* stream, Work work) { enqueue(current, stream, std::move(work)); };
  return true;
}();

}  // namespace

int device_count() { return emulated::settings_fault.empty() ? kDevices : 0; }
Failure why_no_device() { return emulated::settings_fault.empty() ? nullptr : emulated::settings_fault.c_str(); }

Failure use_device(int device) {
  current = device;
  return nullptr;
}

Failure properties_of(int, DeviceProperties* found) {
  *found = {"emulated on the CPU", kMemoryBytes, emulated::settings.has_wgmma ? 9 : 8, 0, emulated::kMultiprocessors};
  return nullptr;
}

// The size stands in front of the block.
void* take_memory(int device, int64_t bytes) {
  const Lock lock(mutex);
  if (used_bytes[device] + bytes > kMemoryBytes) return nullptr;
  char* start = static_cast<char*>(std::aligned_alloc(kGuardBytes, size_t(bytes + kGuardBytes)));
  if (!start) return nullptr;
  std::memcpy(start, &bytes, sizeof bytes);
  used_bytes[device] += bytes;
  blocks[start + kGuardBytes] = bytes;
  return start + kGuardBytes;
}

void give_memory_back(int device, void* data) {
  const Lock lock(mutex);
  char* start = static_cast<char*>(data) - kGuardBytes;
  int64_t bytes;
  std::memcpy(&bytes, start, sizeof bytes);
  used_bytes[device] -= bytes;
  blocks.erase(static_cast<char*>(data));
  std::free(start);
}

int64_t with_guard(int64_t bytes) { return bytes + kGuardBytes; }

void hand_out(int device, void* data, int64_t bytes, Stream stream) {
  enqueue(device, stream, [=] {
    std::memset(data, 0xff, size_t(bytes));
    std::memset(static_cast<char*>(data) + bytes, kGuard, kGuardBytes);
  });
}

void take_back(int device, void* data, int64_t bytes, Stream stream) {
  enqueue(device, stream, [=] {
    const unsigned char* behind = static_cast<const unsigned char*>(data) + bytes;
    for (int64_t i = 0; i < kGuardBytes; ++i)
      if (behind[i] != kGuard) throw emulated::Fault("a kernel wrote behind the end of an array");
    std::memset(data, 0xff, size_t(bytes));
  });
}

bool is_pinned(const void* host) {
  const Lock lock(mutex);
  return host >= pinned_begin && host < pinned_end;
}

Failure copy_memory(void* to, const void* from, int64_t bytes, Direction direction, Stream stream) {
  if (direction == Direction::to_device && !is_pinned(from)) {
    const auto kept =
        std::make_shared<std::vector<char>>(static_cast<const char*>(from), static_cast<const char*>(from) + bytes);
    enqueue(current, stream, [=] { std::memcpy(to, kept->data(), size_t(bytes)); });
    return nullptr;
  }
  enqueue(current, stream, [=] { std::memcpy(to, from, size_t(bytes)); });
  return direction == Direction::to_host ? wait_for_stream(current, stream) : nullptr;
}

Failure fill_memory(void* to, uint8_t value, int64_t bytes, Stream stream) {
  enqueue(current, stream, [=] { std::memset(to, value, size_t(bytes)); });
  return nullptr;
}

Failure make_stream(int, Stream* stream) {
  *stream = new Queue;
  return nullptr;
}

Failure order_streams(int device, Stream earlier, Stream later) {
  if (earlier == later) return nullptr;
  const Lock lock(mutex);
  Queue& before = queue_of(device, earlier);
  enqueue(device, later, [&before, count = before.queued] { work_off(before, count); });
  return nullptr;
}

Failure wait_for_stream(int device, Stream stream) {
  ++waits;
  return work_off(queue_of(device, stream));
}

Failure begin_recording(int device, Stream stream) {
  const Lock lock(mutex);
  queue_of(device, stream).recorded = std::make_shared<Recorded>();
  return nullptr;
}

Failure end_recording(int device, Stream stream, void** graph) {
  const Lock lock(mutex);
  *graph = new std::shared_ptr<Recorded>(std::move(queue_of(device, stream).recorded));
  return nullptr;
}

Failure queue_graph(int device, void* graph, Stream stream) {
  enqueue(device, stream, [recorded = *static_cast<std::shared_ptr<Recorded>*>(graph)] {
    for (const Work& work : *recorded) work();
  });
  return nullptr;
}

void destroy_graph(void* graph) { delete static_cast<std::shared_ptr<Recorded>*>(graph); }

}  // namespace pyformer::cuda

bool pyformer::emulated::is_device_memory(const void* data) {
  using namespace cuda;
  const Lock lock(mutex);
  const auto next = blocks.upper_bound(static_cast<const char*>(data));
  return next != blocks.begin() && data < std::prev(next)->first + std::prev(next)->second;
}

// For tests: how the emulator runs what is done from now on, as PYFORMER_CUDA_EMULATED has it. Null, or what is wrong
// with the words.
extern "C" __attribute__((visibility("default"))) const char* pyformer_emulate(const char* words) {
  using namespace pyformer;
  try {
    const emulated::Settings wanted = emulated::settings_of(words);
    const cuda::Lock lock(cuda::mutex);
    emulated::settings = wanted;
    return nullptr;
  } catch (const std::invalid_argument&) {
    return "unknown words";
  }
}

// For tests: these bytes of the host's memory count as pinned, and none else.
extern "C" __attribute__((visibility("default"))) void pyformer_emulated_pin(const char* start, int64_t bytes) {
  const pyformer::cuda::Lock lock(pyformer::cuda::mutex);
  pyformer::cuda::pinned_begin = start;
  pyformer::cuda::pinned_end = start + bytes;
}

// What the calling thread's kernels did so far: emulated::Counters as an array.
extern "C" __attribute__((visibility("default"))) const uint64_t* pyformer_emulated_counters() {
  return reinterpret_cast<const uint64_t*>(&pyformer::emulated::counters);
}

// And what each kernel did while that was counted: emulated::KernelCounters, whose number goes to `count`.
extern "C" __attribute__((visibility("default"))) const uint64_t* pyformer_emulated_kernels(int64_t* count) {
  const auto& kernels = pyformer::emulated::kernel_counters();
  *count = int64_t(kernels.size());
  return reinterpret_cast<const uint64_t*>(kernels.data());
}

// How often the calling thread has waited for a device.
extern "C" __attribute__((visibility("default"))) int64_t pyformer_emulated_waits() { return pyformer::cuda::waits; }
