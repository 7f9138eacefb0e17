// mse_loss: the mean, sum or list of (x - target)^2.
//
// x and target of one shape and float dtype; both may get a gradient, 2 (x - target) and its negative.
// Made of subtract, square and mean or sum, for 16-bit floats in float32. What is saved for backward and the order of
// sums are those of these ops.
#pragma once
#include "pyformer/ops/loss/loss.h"

namespace pyformer {

Tensor mse_loss(const Tensor& x, const Tensor& target, Reduction reduction);

}  // namespace pyformer
