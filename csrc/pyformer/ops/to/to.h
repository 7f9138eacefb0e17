// to: the same values on another device. Differentiable: the gradient goes back to where the operand was.
//
// What goes to the CPU is there on return, and errors found on the device since (ids out of range) are raised.
#pragma once
#include "pyformer/core/tensor.h"

namespace pyformer {

Array to(const Array& x, Device device);  // x itself if it is there already
Tensor to(const Tensor& x, Device device);

}  // namespace pyformer
