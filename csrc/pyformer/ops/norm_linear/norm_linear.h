// norm_linear: out = norm(x) weight^T + bias, where the normalised rows are computed again in backward: an array as
// large as x is kept in place of two.
//
// x (..., C), weight (N, C), bias (N,) or absent; norm is layer_norm or rms_norm over C with its own weight and bias.
// Saved for backward: x, norm_weight, norm_bias, weight, which is bfloat16 in mixed precision. Order of sums: those of
// the norm and linear; same bits.
#pragma once
#include "pyformer/core/tensor.h"
#include "pyformer/ops/norm/norm.h"

namespace pyformer {

Tensor norm_linear(const Norm& norm, const Tensor& x, const Tensor& norm_weight, const Tensor& norm_bias,
                   const Tensor& weight, const Tensor& bias);

}  // namespace pyformer
