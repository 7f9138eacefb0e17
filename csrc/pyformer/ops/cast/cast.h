// cast: the same values in another dtype. Moves and converts bytes, so it has one plain source file.
//
//   float -> float    nearest even; float64 goes to bfloat16 and float16 by way of float32
//   float -> integer  toward zero; what does not fit becomes the nearest limit, NaN becomes 0
//   integer -> integer  the low bits;  anything -> bool: x != 0 (NaN is true);  bool -> number: 0 or 1
//
// Differentiable between float dtypes. The gradient of a bfloat16 or float16 operand is float32.
#pragma once
#include "pyformer/core/tensor.h"

namespace pyformer {

Array cast(const Array& x, DType dtype);  // x itself if it has that dtype
Tensor cast(const Tensor& x, DType dtype);

}  // namespace pyformer
