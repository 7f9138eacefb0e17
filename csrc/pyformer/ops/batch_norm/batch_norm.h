// batch_norm: normalises each channel over all images and positions, then scales and shifts it (Ioffe, Szegedy 2015,
// algorithms 1 and 2).
//
//   out = (x - mean) * rstd * weight + bias,  rstd = 1 / sqrt(var + eps), of each channel of x (N, C, ...)
//
// In training mean and var are those of x, and the running statistics, where given, are written in place:
// running = (1 - momentum) * running + momentum * new, the new variance divided by count - 1. Else mean and var are the
// running statistics. weight, bias, running_mean, running_var are (C,); beside 16-bit x the running statistics may be
// float32. Channels of equal numbers, far from 0 or with squares that overflow or vanish: as in layer_norm.h.
// Saved: x, weight, four numbers a channel (NormRow).
// Order of sums: the row-reduction rule over the positions of an image; images meet in a binary tree; dweight and dbias
// are sums over images as those of reduce.h.
#pragma once
#include "pyformer/core/tensor.h"

namespace pyformer {

struct BatchNormOptions {
  bool training = false;
  double momentum = 0.1, eps = 1e-5;
};

struct BatchNormResult {
  Array out, statistics;  // (C, 4)
};
BatchNormResult batch_norm_forward(const Array& x, const Array& running_mean, const Array& running_var,
                                   const Array& weight, const Array& bias, const BatchNormOptions& options);

struct BatchNormGradient {
  Array dx, dweight, dbias;  // undefined where not wanted
};
BatchNormGradient batch_norm_backward(const Array& dout, const Array& x, const Array& weight, const Array& statistics,
                                      bool training, bool need_dx, bool need_dweight, bool need_dbias);

Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var, const Tensor& weight,
                  const Tensor& bias, const BatchNormOptions& options);

}  // namespace pyformer
