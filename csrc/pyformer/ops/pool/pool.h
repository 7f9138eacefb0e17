// pool: the largest element, or the mean, of each window of a picture.
//
//   max_pool2d  out[n, c, i, j] = max over kh, kw of x[n, c, i * stride - padding + kh, ...] within the picture
//   avg_pool2d  out[n, c, i, j] = (sum over kh, kw of the same, what lies outside counting as 0) / (KH KW)
//
// x (N, C, H, W); out (N, C, (H + 2 padding - KH) / stride + 1, ...), rounded down; padding is at
// most half the kernel. NaN is larger than anything; of equal elements the first gets the gradient, of several NaN the
// last. Saved for backward: the winners' places in their windows; avg_pool2d saves nothing. Order of sums: the mean
// adds by (kh, kw), row-major; avg_pool2d's dx by (i, kh, kw, j), max_pool2d's by (i, j).
#pragma once
#include "pyformer/core/tensor.h"

namespace pyformer {

struct PoolOptions {
  int64_t kernel[2] = {1, 1}, stride[2] = {1, 1}, padding[2] = {0, 0};
};

struct MaxPoolResult {
  Array out, tap;  // tap: int32, kh * KW + kw of the winner
};
MaxPoolResult max_pool2d_forward(const Array& x, const PoolOptions& options);
// Gradients are in the accumulator of dout's dtype.
Array max_pool2d_backward(const Array& dout, const Array& tap, const Shape& shape, const PoolOptions& options);

Array avg_pool2d_forward(const Array& x, const PoolOptions& options);
Array avg_pool2d_backward(const Array& dout, const Shape& shape, const PoolOptions& options);

Tensor max_pool2d(const Tensor& x, const PoolOptions& options);
Tensor avg_pool2d(const Tensor& x, const PoolOptions& options);

}  // namespace pyformer
