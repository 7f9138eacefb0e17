#include "pyformer/core/graph_recording.h"

#include <algorithm>

namespace pyformer {

static thread_local GraphRecording* of_thread = nullptr;

constexpr int64_t kNumbersBytes = 1 << 16;

// The numbers' memory is no part of what is recorded.
GraphRecording::GraphRecording(Device device) : device_(device) {
  if (of_thread) throw std::runtime_error("Graph: this thread is recording already");
  numbers_ = Array::empty({kNumbersBytes}, DType::uint8, device);
  throw_if(device_api(device).graphs.begin(device.index), device);
  of_thread = this;
  note_uses(&uses_);
}

GraphRecording::~GraphRecording() {
  if (is_open_) {
    of_thread = nullptr;
    note_uses(nullptr);
    (void)device_api(device_).graphs.end(device_.index, &graph_);
  }
  checks_.clear();
  if (graph_) device_api(device_).graphs.destroy(graph_, device_.index);
}

void GraphRecording::end() {
  of_thread = nullptr;
  note_uses(nullptr);
  is_open_ = false;
  const auto is_one = [](const auto& a, const auto& b) { return !a.owner_before(b) && !b.owner_before(a); };
  std::erase_if(uses_, [](const auto& use) { return use.expired(); });
  std::sort(uses_.begin(), uses_.end(), std::owner_less<>());
  uses_.erase(std::unique(uses_.begin(), uses_.end(), is_one), uses_.end());
  throw_if(device_api(device_).graphs.end(device_.index, &graph_), device_);
}

GraphRecording* GraphRecording::of(Device device) {
  return of_thread && of_thread->device_ == device ? of_thread : nullptr;
}

const void* GraphRecording::place(int64_t bytes, std::function<void(void*)> write) {
  constexpr size_t kAligned = 16;
  const size_t at = (next_numbers_.size() + kAligned - 1) / kAligned * kAligned;
  if (int64_t(at) + bytes > kNumbersBytes)
    throw std::runtime_error(cat("Graph: more than ", kNumbersBytes, " bytes of numbers change from replay to replay"));
  next_numbers_.resize(at + size_t(bytes));
  writers_.emplace_back(at, std::move(write));
  return static_cast<const char*>(numbers_.raw()) + at;
}

void GraphRecording::replay() {
  if (!graph_) throw std::runtime_error("Graph: nothing was recorded");
  for (const auto& [at, write] : writers_) write(next_numbers_.data() + at);
  copy_between(device_, numbers_.raw(), kCpu, next_numbers_.data(), int64_t(next_numbers_.size()));
  for (const auto& use : uses_)
    if (const auto storage = use.lock()) (void)storage->data();
  throw_if(device_api(device_).graphs.launch(graph_, device_.index), device_);
  add_pending(checks_);
}

}  // namespace pyformer
