// norm_linear: out = norm(x) weight^T + bias, where the normalised rows are computed again in backward: an array as
// large as x is kept in place of two.
//
// x (..., C), weight (N, C), bias (N,) or absent; norm is layer_norm or rms_norm over C with its own weight and bias.
// Saved for backward: x, norm_weight, norm_bias, weight. Order of sums: those of the norm and linear; same bits.
#pragma once
#include "pyformer/core/tensor.h"

namespace pyformer {

enum class NormKind : int { none, layer, rms };
NormKind norm_kind_from_name(const std::string& name);  // ValueError unless none, layer or rms

struct Norm {
  NormKind kind = NormKind::none;
  double eps = 1e-5;
};

// The statistics come along for the gradient; with NormKind::none out is x.
struct NormResult {
  Array out, statistics;
};
NormResult norm_forward(const Norm& norm, const Array& x, const Array& weight, const Array& bias);

struct NormGradient {
  Array dx, dweight, dbias;  // undefined where not wanted
};
NormGradient norm_backward(const Norm& norm, const Array& dout, const Array& x, const Array& weight,
                           const NormResult& forward, bool need_dx, bool need_dweight, bool need_dbias);

Tensor norm_linear(const Norm& norm, const Tensor& x, const Tensor& norm_weight, const Tensor& norm_bias,
                   const Tensor& weight, const Tensor& bias);

}  // namespace pyformer
