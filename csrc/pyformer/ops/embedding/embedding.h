// embedding: rows of a table by number. out[i, :] = weight[ids[i], :], ids (...) int64 or int32, weight (V, C).
//
// dweight[v, :] = sum over i with ids[i] == v of dout[i, :], added in increasing i from +0: tasks own ranges of
// columns and walk the tokens in order, so no two threads write one element. float32 for 16-bit weights.
#pragma once
#include "pyformer/core/tensor.h"

namespace pyformer {

// ids: int64, checked.
Array embedding_forward(const Array& ids, const Array& weight);
Array embedding_backward(const Array& dout, const Array& ids, int64_t rows);

// IndexError for an id outside [0, V); TypeError unless ids are integers.
Tensor embedding(const Tensor& ids, const Tensor& weight);

}  // namespace pyformer
