// What a thread has a device do, recorded and done again at one call: of a training step or a step of decoding the host
// then launches one graph in place of a thousand kernels.
//
// Nothing runs while it is recorded, so nothing may be waited for. Addresses and numbers stay those of the recording;
// numbers that change from one replay to the next (a random stream, a learning rate) are kept in the device's memory
// and written before each replay.
#pragma once
#include <cstddef>
#include <cstring>
#include <functional>
#include <vector>

#include "pyformer/core/arithmetic/checks.h"

namespace pyformer {

class GraphRecording {
 public:
  // Begins: until end() or its own, what the calling thread queues on the device is recorded. RuntimeError if the
  // thread is recording already or the device does not record.
  explicit GraphRecording(Device device);
  ~GraphRecording();
  GraphRecording(const GraphRecording&) = delete;

  void end();  // RuntimeError if what was recorded can't be done again
  // After end(), on the calling thread's stream: behind what any thread did with the memory that it uses, and before
  // what any does with it later. One thread at a time.
  void replay();

  // The calling thread's on that device, or null.
  static GraphRecording* of(Device device);

  // Where kernels find a number that `next` gives for each replay, in the order of these calls.
  template <class T>
  const T* number(std::function<T()> next) {
    return static_cast<const T*>(place(sizeof(T), [next](void* to) {
      const T value = next();
      std::memcpy(to, &value, sizeof(T));
    }));
  }
  // Checks that are due after each replay.
  void add_check(PendingCheck check) { checks_.push_back(std::move(check)); }

 private:
  const void* place(int64_t bytes, std::function<void(void*)> write);

  Device device_;
  void* graph_ = nullptr;
  bool is_open_ = true;
  Array numbers_;  // on the device
  std::vector<char> next_numbers_;
  std::vector<std::pair<size_t, std::function<void(void*)>>> writers_;
  std::vector<PendingCheck> checks_;
  std::vector<std::weak_ptr<const Storage>> uses_;  // what the recording reads or writes, as long as it is there
};

}  // namespace pyformer
