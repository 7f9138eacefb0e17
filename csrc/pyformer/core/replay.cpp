#include "pyformer/core/replay.h"

#include <algorithm>

namespace pyformer {

Replay::Replay(std::vector<Tensor> inputs, std::vector<Tensor> weights) {
  for (const Tensor& tensor : inputs) inputs_.push_back(tensor.array());
  for (const Tensor& tensor : weights)
    weights_.push_back({tensor, tensor.array().storage_pointer(), tensor.array().storage().version()});
}

Replay::~Replay() { cancel(); }

void Replay::begin() {
  if (recording()) throw std::runtime_error("replay: this thread records already");
  if (grad_enabled()) recording_.refuse("gradients are recorded");
  record_into(&recording_);
  is_open_ = true;
}

void Replay::cancel() {
  if (is_open_ && recording() == &recording_) record_into(nullptr);
  is_open_ = false;
}

void Replay::end(const Tensor& out) {
  cancel();
  out_ = out.array();
}

bool Replay::serves() const {
  return out_.defined() && refused().empty() && std::all_of(weights_.begin(), weights_.end(), [](const Seen& seen) {
           return seen.tensor.array().storage_pointer() == seen.storage && seen.storage->version() == seen.version;
         });
}

Tensor Replay::operator()(const std::vector<Tensor>& inputs) const {
  if (!out_.defined() || !refused().empty()) throw std::runtime_error(cat("replay: nothing is recorded: ", refused()));
  if (inputs.size() != inputs_.size())
    throw ValueError(cat("replay: expected ", inputs_.size(), " inputs, got ", inputs.size()));
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Array &given = inputs[i].array(), &slot = inputs_[i];
    check_alike("replay", "an input", given, "the one recorded", slot);
    if (!(given.shape() == slot.shape()))
      throw ValueError(cat("replay: input ", i, " must be ", slot.shape().str(), ", got ", given.shape().str()));
    copy_between(kCpu, slot.raw(), kCpu, given.raw(), slot.bytes());
  }
  recording_.replay();
  return no_gradient(out_.copy());
}

}  // namespace pyformer
