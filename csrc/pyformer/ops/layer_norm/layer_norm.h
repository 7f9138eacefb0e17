// layer_norm: normalises each row to mean 0 and variance 1, then scales and shifts (Ba, Kiros, Hinton 2016, eq. 4).
//
//   out = (x - mean) * rstd * weight + bias,  mean and rstd = 1 / sqrt(var + eps) over the last axis of x (..., C)
//
// A row of equal numbers gives the bias exactly. Rows far from 0, and those whose squares overflow or vanish, are as
// exact as others. weight and bias are (C,) or absent. Saved for backward: x, weight, four numbers a row (NormRow).
// Order of sums: the row-reduction rule over C; dweight and dbias are chains over 32 consecutive rows, whose partials
// are added in index order.
#pragma once
#include "pyformer/core/tensor.h"

namespace pyformer {

struct LayerNormResult {
  Array out, statistics;  // (rows, 4)
};
LayerNormResult layer_norm_forward(const Array& x, const Array& weight, const Array& bias, double eps);

struct LayerNormGradient {
  Array dx, dweight, dbias;  // undefined where not wanted
};
LayerNormGradient layer_norm_backward(const Array& dout, const Array& x, const Array& weight, const Array& statistics,
                                      bool need_dx, bool need_dweight, bool need_dbias);

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps);

}  // namespace pyformer
