// What the device library asks of a CUDA driver (runtime.cpp) or of its emulation (runtime_emulated.cpp). Functions
// that can fail return null, or what went wrong; `device` is the index of a device that is there.
#pragma once
#include <cstdint>

#include "pyformer/base/device.h"

namespace pyformer::cuda {

using Stream = void*;  // null: the device's own

extern const char* const kKind;  // "cuda"
extern const int kDlpackType;

int device_count();
Failure why_no_device();
Failure use_device(int device);
Failure properties_of(int device, DeviceProperties* found);

// At least `bytes` bytes, or null if there are none.
void* take_memory(int device, int64_t bytes);
void give_memory_back(int device, void* data);
// Queued: `bytes` bytes are handed out, or come back. The emulator fills them with NaN and looks whether something was
// written behind them.
void hand_out(int device, void* data, int64_t bytes, Stream stream);
void take_back(int device, void* data, int64_t bytes, Stream stream);
int64_t with_guard(int64_t bytes);  // what a block of so many bytes takes

// Whether copies to a device read this memory of the host when they run; other memory is read before copy_memory
// returns.
bool is_pinned(const void* host);
Failure copy_memory(void* to, const void* from, int64_t bytes, Direction direction, Stream stream);
Failure fill_memory(void* to, uint8_t value, int64_t bytes, Stream stream);

Failure make_stream(int device, Stream* stream);
// What is queued on `later` from now on waits for what is queued on `earlier` by now. Both are of that device.
Failure order_streams(int device, Stream earlier, Stream later);
Failure wait_for_stream(int device, Stream stream);

// What is queued on the stream from now on is recorded and does not run; what is copied to the device is kept.
Failure begin_recording(int device, Stream stream);
Failure end_recording(int device, Stream stream, void** graph);
Failure queue_graph(int device, void* graph, Stream stream);
void destroy_graph(void* graph);  // none of it is queued any more

// Memory for what is queued on the calling thread's stream during its lifetime. Throws std::bad_alloc.
class Scratch {
 public:
  explicit Scratch(int64_t bytes);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  void* data() const { return data_; }

 private:
  int device_;
  int64_t bytes_;
  void* data_ = nullptr;
};

// The stream of the calling thread on the device that it uses: where kernels are launched.
Stream current_stream();

}  // namespace pyformer::cuda
