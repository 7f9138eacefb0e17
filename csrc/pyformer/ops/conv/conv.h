// conv: the convolution of neural networks (a correlation) over one or two axes, and its transpose.
//
//   conv2d            out[n, o, i, j] = bias[o] + sum_(c, kh, kw) weight[o, c, kh, kw] * x[n, c, y, x]
//                     y = i * stride - padding + kh * dilation, x likewise; what lies outside x counts as 0
//                     (a number like others: times an infinity it is NaN)
//   conv_transpose2d  the transpose of that map: out[n, c, y, x] = bias[c] + the sum of weight * x over all
//                     (o, kh, kw) and the one (i, j) that it would have come from, if there is one: what is not
//                     there is no 0, and an infinite weight does not meet it; so in both gradients of x
//
// x (N, C, H, W), weight (O, C / groups, KH, KW) or, transposed, (C, O / groups, KH, KW), bias (O,) or absent; group g
// of the input channels makes group g of the output channels. conv1d is conv2d of (N, C, T, 1).
// Output extents: conv (H + 2 padding - dilation (KH - 1) - 1) / stride + 1, rounded down; transposed
// (H - 1) stride - 2 padding + dilation (KH - 1) + 1 + output_padding. Saved for backward: x, weight.
//
// Order of sums: over k = (channel, kh, kw), row-major, ((p0 + p1) + p2) + ..., p_i one FMA chain from +0 over 256
// consecutive k, then + bias. In the transpose, k counts only those kh and kw that can meet the position: every
// stride-th. dweight: images in at most kImageRanges ranges of equal length; in a range a chain takes as many whole
// output rows as 256 positions hold (at least one), chains are added in order, and so are the ranges. dbias: sum's
// order. In mixed precision (core/precision.h) the operands of each sum are rounded to bfloat16 and sums are
// bfloat16_dot.h's over the same k; dweight's over the positions of one image of a range after the other, each filled
// up to whole blocks.
#pragma once
#include "pyformer/core/tensor.h"

namespace pyformer {

struct ConvOptions {
  int64_t stride[2] = {1, 1}, padding[2] = {0, 0}, dilation[2] = {1, 1};
  int64_t output_padding[2] = {0, 0};  // transposed only
  int64_t groups = 1;
};

// x (N, C, T), weight (O, C / groups, K); only the first of each pair of options counts.
Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias, ConvOptions options);
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvOptions& options);
Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvOptions& options);

}  // namespace pyformer
