// group_norm: normalises the channels of each group of each image together, then scales and shifts each channel (Wu,
// He 2018, eq. 1 to 3).
//
//   out = (x - mean) * rstd * weight + bias,  mean and rstd = 1 / sqrt(var + eps) over (C / groups, ...) of x (N, C,
//   ...)
//
// Groups of equal numbers, far from 0 or with squares that overflow or vanish: as in layer_norm.h. weight and bias are
// (C,) or absent. Saved for backward: x, weight, four numbers a group (NormRow).
// Order of sums: the row-reduction rule over the positions of a channel; channels meet in a binary tree; dweight and
// dbias are sums over images as those of reduce.h.
#pragma once
#include "pyformer/core/tensor.h"

namespace pyformer {

struct GroupNormResult {
  Array out, statistics;  // (N * groups, 4)
};
GroupNormResult group_norm_forward(const Array& x, int64_t groups, const Array& weight, const Array& bias, double eps);

struct GroupNormGradient {
  Array dx, dweight, dbias;  // undefined where not wanted
};
GroupNormGradient group_norm_backward(const Array& dout, const Array& x, int64_t groups, const Array& weight,
                                      const Array& statistics, bool need_dx, bool need_dweight, bool need_dbias);

Tensor group_norm(const Tensor& x, int64_t groups, const Tensor& weight, const Tensor& bias, double eps);

}  // namespace pyformer
