// layer_norm: normalises each row to mean 0 and variance 1, then scales and shifts (Ba, Kiros, Hinton 2016, eq. 4).
//
//   out = (x - mean) * rstd * weight + bias,  mean and rstd = 1 / sqrt(var + eps) over the last axis of x (..., C)
//
// A row of equal numbers gives the bias exactly. Rows far from 0, and those whose squares overflow or vanish, are as
// exact as others. weight and bias are (C,) or absent. What is saved, and the order of sums: norm.h.
#pragma once
#include "pyformer/core/tensor.h"

namespace pyformer {

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps);

}  // namespace pyformer
