// rms_norm: scales each row to mean square 1, then by a weight (Zhang, Sennrich 2019, eq. 4).
//
//   out = x * rstd * weight,  rstd = 1 / sqrt(mean(x^2) + eps) over the last axis of x (..., C)
//
// Rows whose squares overflow or vanish are as exact as others. weight is (C,) or absent. Saved for backward: x,
// weight, four numbers a row (NormRow).
// Order of sums: the row-reduction rule over C; dweight is chains over 32 consecutive rows, whose partials are added in
// index order.
#pragma once
#include "pyformer/core/tensor.h"

namespace pyformer {

struct RmsNormResult {
  Array out, statistics;  // (rows, 4)
};
RmsNormResult rms_norm_forward(const Array& x, const Array& weight, double eps);

struct RmsNormGradient {
  Array dx, dweight;  // undefined where not wanted
};
RmsNormGradient rms_norm_backward(const Array& dout, const Array& x, const Array& weight, const Array& statistics,
                                  bool need_dx, bool need_dweight);

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps);

}  // namespace pyformer
