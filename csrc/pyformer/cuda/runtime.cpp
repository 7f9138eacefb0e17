// The backend on CUDA's runtime, which is linked statically: all that must be there is the driver.
#include <cuda_runtime.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "pyformer/cuda/backend.h"

namespace pyformer::cuda {

const char* const kKind = "cuda";
const int kDlpackType = 2;  // kDLCUDA

static Failure failure_of(cudaError_t error) {
  if (error == cudaSuccess) return nullptr;
  (void)cudaGetLastError();
  // After these nothing works any more until the process ends.
  const bool is_lost = error == cudaErrorIllegalAddress || error == cudaErrorLaunchFailure ||
                       error == cudaErrorHardwareStackError || error == cudaErrorIllegalInstruction ||
                       error == cudaErrorMisalignedAddress || error == cudaErrorAssert;
  if (!is_lost) return cudaGetErrorString(error);
  thread_local char text[256];
  std::snprintf(text, sizeof text, "%s; the CUDA context of this process is lost", cudaGetErrorString(error));
  return text;
}

static Failure why = nullptr;

// The driver first: without one that is new enough nothing else says what is wrong.
static int count_devices() {
  static char text[160];
  int driver = 0, count = 0;
  constexpr int kNeeded = CUDART_VERSION / 1000 * 1000;  // any of the same major version
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
    why = "there is no NVIDIA driver (libcuda.so.1)";
    return 0;
  }
  if (driver < kNeeded) {
    std::snprintf(text, sizeof text, "the NVIDIA driver is too old: it serves CUDA %d.%d, this build needs %d.0",
                  driver / 1000, driver % 1000 / 10, kNeeded / 1000);
    why = text;
    return 0;
  }
  if (const Failure failure = failure_of(cudaGetDeviceCount(&count))) why = failure;
  return count;
}

int device_count() {
  static const int count = count_devices();
  return count;
}

Failure why_no_device() {
  device_count();
  return why;
}

Failure use_device(int device) { return failure_of(cudaSetDevice(device)); }

Failure properties_of(int device, DeviceProperties* found) {
  cudaDeviceProp p;
  if (const Failure failure = failure_of(cudaGetDeviceProperties(&p, device))) return failure;
  *found = {"", int64_t(p.totalGlobalMem), p.major, p.minor, p.multiProcessorCount};
  std::snprintf(found->name, sizeof found->name, "%s", p.name);
  return nullptr;
}

void* take_memory(int, int64_t bytes) {
  void* data = nullptr;
  const bool failed = cudaMalloc(&data, size_t(bytes)) != cudaSuccess;
  if (failed) (void)cudaGetLastError();
  return failed ? nullptr : data;
}

void give_memory_back(int, void* data) { (void)cudaFree(data); }
void hand_out(int, void*, int64_t, Stream) {}
void take_back(int, void*, int64_t, Stream) {}
int64_t with_guard(int64_t bytes) { return bytes; }

static cudaStream_t native(Stream stream) { return static_cast<cudaStream_t>(stream); }

// What is recorded on a stream: its copies to the device read pinned memory of the host, at each replay.
struct Recorded {
  cudaGraphExec_t graph = nullptr;
  std::vector<void*> pinned;
};
static std::mutex recordings_mutex;
static std::map<Stream, Recorded*> recordings;

static Recorded* recording_on(Stream stream) {
  const std::lock_guard lock(recordings_mutex);
  const auto found = recordings.find(stream);
  return found == recordings.end() ? nullptr : found->second;
}

static Failure keep_pinned(Recorded& recorded, const void*& from, int64_t bytes) {
  void* kept = nullptr;
  if (const Failure failure = failure_of(cudaMallocHost(&kept, size_t(bytes)))) return failure;
  std::memcpy(kept, from, size_t(bytes));
  recorded.pinned.push_back(kept);
  from = kept;
  return nullptr;
}

bool is_pinned(const void* host) {
  cudaPointerAttributes found;
  const cudaError_t error = cudaPointerGetAttributes(&found, host);
  if (error != cudaSuccess) (void)cudaGetLastError();
  return error == cudaSuccess && found.type != cudaMemoryTypeUnregistered;
}

// Pageable memory of the host is read before cudaMemcpyAsync returns.
Failure copy_memory(void* to, const void* from, int64_t bytes, Direction direction, Stream stream) {
  if (direction == Direction::to_device)
    if (Recorded* const recorded = recording_on(stream))
      if (const Failure failure = keep_pinned(*recorded, from, bytes)) return failure;
  const cudaMemcpyKind kind = direction == Direction::to_host     ? cudaMemcpyDeviceToHost
                              : direction == Direction::to_device ? cudaMemcpyHostToDevice
                                                                  : cudaMemcpyDeviceToDevice;
  const Failure failure = failure_of(cudaMemcpyAsync(to, from, size_t(bytes), kind, native(stream)));
  if (failure || direction != Direction::to_host) return failure;
  return failure_of(cudaStreamSynchronize(native(stream)));
}

Failure fill_memory(void* to, uint8_t value, int64_t bytes, Stream stream) {
  return failure_of(cudaMemsetAsync(to, value, size_t(bytes), native(stream)));
}

// Non-blocking: only what order_streams() says is waited for.
Failure make_stream(int, Stream* stream) {
  cudaStream_t made = nullptr;
  const Failure failure = failure_of(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking));
  *stream = made;
  return failure;
}

Failure order_streams(int, Stream earlier, Stream later) {
  if (earlier == later) return nullptr;
  cudaEvent_t event;
  if (const Failure failure = failure_of(cudaEventCreateWithFlags(&event, cudaEventDisableTiming))) return failure;
  Failure failure = failure_of(cudaEventRecord(event, native(earlier)));
  if (!failure) failure = failure_of(cudaStreamWaitEvent(native(later), event, 0));
  (void)cudaEventDestroy(event);  // freed once it has happened
  return failure;
}

Failure wait_for_stream(int, Stream stream) {
  if (const Failure failure = failure_of(cudaGetLastError())) return failure;  // of launches
  return failure_of(cudaStreamSynchronize(native(stream)));
}

// Relaxed: memory may be taken meanwhile.
Failure begin_recording(int, Stream stream) {
  if (const Failure failure = failure_of(cudaStreamBeginCapture(native(stream), cudaStreamCaptureModeRelaxed)))
    return failure;
  const std::lock_guard lock(recordings_mutex);
  recordings[stream] = new Recorded;
  return nullptr;
}

Failure end_recording(int, Stream stream, void** graph) {
  Recorded* const recorded = recording_on(stream);
  {
    const std::lock_guard lock(recordings_mutex);
    recordings.erase(stream);
  }
  *graph = recorded;
  cudaGraph_t found = nullptr;
  if (const Failure failure = failure_of(cudaStreamEndCapture(native(stream), &found))) return failure;
  const Failure failure = failure_of(cudaGraphInstantiate(&recorded->graph, found, 0));
  (void)cudaGraphDestroy(found);
  return failure;
}

Failure queue_graph(int, void* graph, Stream stream) {
  return failure_of(cudaGraphLaunch(static_cast<Recorded*>(graph)->graph, native(stream)));
}

void destroy_graph(void* graph) {
  auto* const recorded = static_cast<Recorded*>(graph);
  if (recorded->graph) (void)cudaGraphExecDestroy(recorded->graph);
  for (void* pinned : recorded->pinned) (void)cudaFreeHost(pinned);
  delete recorded;
}

}  // namespace pyformer::cuda
