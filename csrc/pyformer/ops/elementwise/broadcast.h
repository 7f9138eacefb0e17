// NumPy's broadcasting rule, and the walk over operands that follows from it.
#pragma once
#include "pyformer/core/array.h"
#include "pyformer/ops/elementwise/elementwise_kernels.h"

namespace pyformer {

// The shape two operands broadcast to; ValueError naming op if they do not.
Shape broadcast_shapes(const char* op, const Shape& a, const Shape& b);

// Fills in how operands are read for an output of this shape, to which each of them broadcasts.
template <int N>
void plan_operands(Operands<N>& plan, const Shape& out, const Array* const (&arrays)[N]) {
  plan.ndim = 0;
  plan.inner = out.size();
  bool same = true;
  for (int k = 0; k < N; ++k) {
    plan.data[k] = arrays[k]->raw();
    plan.steps[k] = true;
    same = same && arrays[k]->shape() == out;
  }
  if (same || plan.inner <= 1) return;

  int groups = 0;  // axes merged so far, innermost first
  int64_t extents[Shape::kMaxDims] = {}, strides[N][Shape::kMaxDims] = {}, next[N];
  for (int k = 0; k < N; ++k) next[k] = 1;
  for (int back = 1; back <= out.ndim(); ++back) {
    const int64_t extent = out[out.ndim() - back];
    if (extent == 1) continue;
    int64_t stride[N];
    bool merges = groups > 0;
    for (int k = 0; k < N; ++k) {
      const Shape& shape = arrays[k]->shape();
      const int64_t own = back <= shape.ndim() ? shape[shape.ndim() - back] : 1;
      stride[k] = own == 1 ? 0 : next[k];
      next[k] *= own;
      merges = merges && stride[k] == strides[k][groups - 1] * extents[groups - 1];
    }
    if (merges) {
      extents[groups - 1] *= extent;
      continue;
    }
    extents[groups] = extent;
    for (int k = 0; k < N; ++k) strides[k][groups] = stride[k];
    ++groups;
  }
  plan.inner = extents[0];
  plan.ndim = groups - 1;
  for (int k = 0; k < N; ++k) plan.steps[k] = strides[k][0] != 0;
  for (int d = 1; d < groups; ++d) {
    plan.dims[d - 1] = extents[d];
    for (int k = 0; k < N; ++k) plan.strides[k][d - 1] = strides[k][d];
  }
}

}  // namespace pyformer
