// gather: elements picked along one axis, out[i][j][k] = x[i][index[i][j][k]][k] for axis 1 (as torch.gather).
//
// index has x's number of dimensions and, but for axis, at most x's extents; index is int64 or int32 in [0, extent).
// dx[i][index[i][j][k]][k] += dout[i][j][k], added in increasing position; float32 for 16-bit floats.
#pragma once
#include "pyformer/core/tensor.h"

namespace pyformer {

// index: int64, checked.
Array gather_forward(const Array& x, const Array& index, int axis);
Array gather_backward(const Array& dout, const Array& index, const Shape& shape, int axis);

Tensor gather(const Tensor& x, const Tensor& index, int64_t axis);

}  // namespace pyformer
