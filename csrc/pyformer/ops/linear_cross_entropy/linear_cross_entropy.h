// linear_cross_entropy: cross_entropy(x weight^T + bias, targets) that never holds all logits.
//
//   x (..., C), weight (V, C), bias (V,) or absent, targets (...); see cross_entropy.h for the loss.
//
// Rows are taken in chunks of a multiple of 256 whose logits fill about kLogitsBytes. Where a gradient is wanted and
// the reduction gives one number, a chunk's logits become dlogits in place and dx, dweight and dbias are finished in
// the same loop; saved are these gradients, which backward only scales. For reduction "none" x, weight, bias and
// targets are saved and backward runs the loop again: it needs dout row by row.
//
// In float16 a chunk's dlogits are 2^14 times the gradient of the sum of losses: at most 2^14, and what is above 4e-12
// of that does not vanish. Gradients are kept in float32 until backward divides by 2^14 and by the count and multiplies
// by dout, so that a scaled loss (pf.optim.GradScaler) reaches dx before it is rounded.
//
// Rows that are ignored count for nothing, also where x holds infinities or NaN in them.
//
// Order of sums: as linear, cross_entropy and linear's gradient on the whole would take them: dweight and dbias are
// ((p0 + p1) + p2) + ..., p_i a chain over 256 consecutive rows; for bfloat16 dweight is bfloat16_dot.h's sum over all
// rows. For 16-bit floats logits, losses, dweight and dbias are float32, and dlogits are rounded for the two products.
// Arithmetic is that of gemm's and cross_entropy's kernels, but for two small loops.
#pragma once
#include "pyformer/ops/cross_entropy/cross_entropy.h"

namespace pyformer {

struct LinearCrossEntropyNeeds {
  bool dx = false, dweight = false, dbias = false;
};

struct LinearCrossEntropyResult {
  Array loss;                // (rows,), in the accumulator's dtype
  Array dx, dweight, dbias;  // undefined where not wanted; dweight and dbias in the accumulator's dtype
};
// x and weight are of the dtype `operands`, or float32 and rounded to it where the products read them; dx of the dtype
// `wanted`, that or, in mixed precision (core/precision.h), its accumulator, as bias is. dout is (rows,), or one for
// all of them, or absent for ones; gradients are of sum(loss * dout), divided by `counted` (() int64, 0 stands for 1)
// if there is one.
LinearCrossEntropyResult linear_cross_entropy_rows(const Array& x, const Array& weight, const Array& bias,
                                                   const Array& targets, const Array& dout, const Array& counted,
                                                   const CrossEntropyOptions& options, LinearCrossEntropyNeeds need,
                                                   DType operands, DType wanted);

Tensor linear_cross_entropy(const Tensor& x, const Tensor& weight, const Tensor& targets, const Tensor& bias,
                            const CrossEntropyOptions& options);

}  // namespace pyformer
