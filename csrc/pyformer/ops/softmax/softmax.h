// softmax and log_softmax over one axis.
//
//   softmax:     out = exp(x - max(x)) * (1 / sum(exp(x - max(x))))
//   log_softmax: out = (x - max(x)) - log(sum(exp(x - max(x))))
//
// Saved for backward: out; for 16-bit floats x instead, from which backward computes out again, unrounded.
// Order of sums: the row-reduction rule along the axis, whichever it is.
// An element of -inf gives 0 (-inf in log_softmax). A row whose elements are all -inf, or that holds +inf or NaN, is
// NaN.
#pragma once
#include "pyformer/core/tensor.h"

namespace pyformer {

Array softmax_forward(const Array& x, int64_t axis);
Array softmax_backward(const Array& dout, const Array& saved, int64_t axis);
Array log_softmax_forward(const Array& x, int64_t axis);
Array log_softmax_backward(const Array& dout, const Array& saved, int64_t axis);

Tensor softmax(const Tensor& x, int64_t axis);
Tensor log_softmax(const Tensor& x, int64_t axis);

}  // namespace pyformer
