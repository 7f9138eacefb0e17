// mlp: out = activation(norm(x) up^T + up_bias) down^T + down_bias + residual, the feed-forward half of a transformer
// block (Vaswani et al. 2017, eq. 2), where the normalised rows and the activation are computed again in backward: x
// and the value before the activation are kept, half of what the ops one by one keep.
//
// x (..., C), up (F, C), up_bias (F,), down (N, F), down_bias (N,), residual as out (..., N); biases and residual may
// be absent; the norm is layer_norm, rms_norm or none. Order of sums: those of the ops it is made of: a norm and two
// linear, one with the activation and one with the residual; same bits.
// In mixed precision (core/precision.h) all that is kept is float32, but for weights that are 16-bit.
#pragma once
#include "pyformer/ops/linear/linear.h"
#include "pyformer/ops/norm/norm.h"

namespace pyformer {

struct MlpInputs {
  Tensor x, norm_weight, norm_bias, up, up_bias, down, down_bias, residual;
};
Tensor mlp(const MlpInputs& inputs, const Norm& norm, Activation activation);

}  // namespace pyformer
