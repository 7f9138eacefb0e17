// cast: the same values in another dtype. Its kernels stand with the library's own arithmetic, which the tape uses too.
//
//   number -> float   to the nearest, ties to even, in one rounding
//   float -> integer  toward zero; what does not fit becomes the nearest limit, NaN becomes 0
//   integer -> integer  the low bits;  anything -> bool: x != 0 (NaN is true);  bool -> number: 0 or 1
//
// Differentiable between float dtypes.
#pragma once
#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/core/tensor.h"

namespace pyformer {

Tensor cast(const Tensor& x, DType dtype);  // x itself if it has that dtype

}  // namespace pyformer
