// linear: out = activation(x weight^T + bias) + residual, all in the store of one matrix product.
//
// x (..., C), weight (N, C), bias (N,) or absent, residual as out (..., N) or absent; any float dtype.
// Saved for backward: x, weight, and with an activation the value before it. dweight and dbias are in the accumulator.
// In mixed precision (core/precision.h) x and weight are rounded to bfloat16 where the products read them, as dout is,
// and all else is float32: out and dx too. Order of sums: gemm's; dweight the same with rows for k; dbias: chains over
// 256 rows, added in order.
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
// x and weight are of the dtype `operands`, or float32 and rounded to it; bias, residual and the result of the dtype
// `wanted`, that or its accumulator.
LinearResult linear_forward(const Array& x, const Weight& weight, const Array& bias, Activation activation,
                            const Array& residual, bool need_preactivation, DType operands, DType wanted);

struct LinearGradient {
  Array dx, dweight, dbias;  // undefined where not wanted; dx is of dout's dtype
};
// dout and preactivation are of the dtype that forward wanted.
LinearGradient linear_backward(const Array& dout, const Array& x, const Array& weight, const Array& preactivation,
                               Activation activation, bool need_dx, bool need_dweight, bool need_dbias, DType operands);

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
