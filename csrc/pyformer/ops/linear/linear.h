// linear: out = activation(x weight^T + bias) + residual, all in the store of one matrix product.
//
// x (..., C), weight (N, C), bias (N,) or absent, residual as out (..., N) or absent; any float dtype.
// Saved for backward: x, weight, and with an activation the value before it. dweight and dbias are in the accumulator.
// In mixed precision (core/precision.h) x and weight are bfloat16 here and all else is float32: out, dout and dx too.
// Order of sums: gemm's; dweight the same with rows for k; dbias: chains over 256 rows, added in order.
#pragma once
#include <mutex>

#include "pyformer/core/tensor.h"
#include "pyformer/ops/activation/activation.h"
#include "pyformer/ops/linear/weight.h"

namespace pyformer {

struct LinearResult {
  Array out;
  Array preactivation;  // undefined unless wanted and there is an activation
};
// bias, residual and the result are of x's dtype, or of `wanted`, which may be its accumulator.
LinearResult linear_forward(const Array& x, const Weight& weight, const Array& bias, Activation activation,
                            const Array& residual, bool need_preactivation, DType wanted);
inline LinearResult linear_forward(const Array& x, const Weight& weight, const Array& bias, Activation activation,
                                   const Array& residual, bool need_preactivation) {
  return linear_forward(x, weight, bias, activation, residual, need_preactivation, x.dtype());
}

struct LinearGradient {
  Array dx, dweight, dbias;  // undefined where not wanted; dx is of dout's dtype
};
// dout and preactivation are of x's dtype or of its accumulator.
LinearGradient linear_backward(const Array& dout, const Array& x, const Array& weight, const Array& preactivation,
                               Activation activation, bool need_dx, bool need_dweight, bool need_dbias);

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, Activation activation = Activation::none,
              const Tensor& residual = {});

// linear without gradients, for many small x: keeps weight packed, and packs it again after a write in place, a move of
// the weight to other memory (set_array) or a change of instruction set. Same bits as linear. Any thread may call it.
class PackedLinear {
 public:
  PackedLinear(Tensor weight, Tensor bias);
  Array operator()(const Array& x, Activation activation, const Array& residual);

 private:
  std::shared_ptr<const Weight> packed();

  Tensor weight_, bias_;
  std::mutex mutex_;
  Array source_;  // what was packed
  std::shared_ptr<const Weight> packed_;
};

}  // namespace pyformer
