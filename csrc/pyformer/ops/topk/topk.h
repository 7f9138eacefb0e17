// topk: the k largest elements along an axis, largest first, and their indices.
//
// NaN is larger than anything; of equal elements the one with the lower index comes first. values has x's dtype
// (any but bool), indices are int64; both have x's shape with k along axis. The gradient of values
// goes to the elements they came from; indices have none. Moves elements only: no vector kernels.
#pragma once
#include "pyformer/core/tensor.h"

namespace pyformer {

struct TopkResult {
  Array values, indices;
};
TopkResult topk_forward(const Array& x, int64_t k, int axis);

struct TopkTensors {
  Tensor values, indices;
};
TopkTensors topk(const Tensor& x, int64_t k, int64_t axis);

}  // namespace pyformer
