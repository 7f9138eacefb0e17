// A function whose inner results are not kept: the backward pass records it again, and goes on through what that made.
#pragma once
#include <functional>
#include <vector>

#include "pyformer/core/tensor.h"

namespace pyformer {

// The results, recorded, of the function's tensor arguments. These are the ones it was called with, so that gradients
// reach them, and what else the function uses, as if it had been recorded at first: in the same order, by the same
// bits.
using RecordAgain = std::function<std::vector<Tensor>(const std::vector<Tensor>& inputs)>;

std::vector<Tensor> record_checkpoint(const std::vector<Tensor>& inputs, std::vector<Array> outs, RecordAgain again);

}  // namespace pyformer
