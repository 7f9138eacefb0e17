// matmul: the matrix product, batched and broadcast as numpy.matmul.
//
//   out[..., i, j] = sum_k op(a)[..., i, k] * op(b)[..., k, j],  op swaps the last two axes if its flag is set
//
// a (..., m, k), b (..., k, n); a 1-D a is one row, a 1-D b one column, and out lacks that axis. Any float dtype;
// gradients are of its accumulator's. Saved for backward: a, b. In mixed precision (core/precision.h) a and b are
// bfloat16 here, and out and dout float32.
// Order of sums: gemm.h's. The gradients are products, too: da sums over n, db over m. A gradient is then summed over
// the axes along which its operand was broadcast.
#pragma once
#include "pyformer/core/tensor.h"

namespace pyformer {

// wide: the result is in the accumulator's dtype.
Array matmul_forward(const Array& a, const Array& b, bool transpose_a, bool transpose_b, bool wide = false);

struct MatmulGradient {
  Array da, db;  // undefined where not wanted
};
MatmulGradient matmul_backward(const Array& dout, const Array& a, const Array& b, bool transpose_a, bool transpose_b,
                               bool need_da, bool need_db);

Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_a = false, bool transpose_b = false);

}  // namespace pyformer
