// matmul: the matrix product, batched and broadcast as numpy.matmul.
//
//   out[..., i, j] = sum_k op(a)[..., i, k] * op(b)[..., k, j],  op swaps the last two axes if its flag is set
//
// a (..., m, k), b (..., k, n); a 1-D a is one row, a 1-D b one column, and out lacks that axis. Any float dtype;
// gradients are of its accumulator's. Saved for backward: a, b. In mixed precision (core/precision.h) a, b and
// dout are rounded to bfloat16 where the products read them, and results are float32.
// Order of sums: gemm.h's. The gradients are products, too: da sums over n, db over m. A gradient is then summed over
// the axes along which its operand was broadcast.
#pragma once
#include "pyformer/core/tensor.h"

namespace pyformer {

// a and b are of the dtype `operands`, or float32 and rounded to it; the result of `wanted`, that or its accumulator.
Array matmul_forward(const Array& a, const Array& b, bool transpose_a, bool transpose_b, DType operands, DType wanted);

struct MatmulGradient {
  Array da, db;  // undefined where not wanted
};
MatmulGradient matmul_backward(const Array& dout, const Array& a, const Array& b, bool transpose_a, bool transpose_b,
                               bool need_da, bool need_db, DType operands);

Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_a = false, bool transpose_b = false);

}  // namespace pyformer
