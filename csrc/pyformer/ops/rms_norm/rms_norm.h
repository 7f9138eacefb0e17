// rms_norm: scales each row to mean square 1, then by a weight (Zhang, Sennrich 2019, eq. 4).
//
//   out = x * rstd * weight,  rstd = 1 / sqrt(mean(x^2) + eps) over the last axis of x (..., C)
//
// Rows whose squares overflow or vanish are as exact as others. weight is (C,) or absent. What is saved, and the order
// of sums: norm.h.
#pragma once
#include "pyformer/core/tensor.h"

namespace pyformer {

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps);

}  // namespace pyformer
