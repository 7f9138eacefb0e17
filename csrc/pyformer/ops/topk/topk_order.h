// The order of topk's elements. One comes before another if it is NaN and the other is not, if it is larger, or if they
// are equal and its index is lower: no two elements are alike, so there is one answer, however it is found.
#pragma once
#include "pyformer/base/element.h"
#include "pyformer/ops/topk/topk_kernels.h"

namespace pyformer::PF_ISA {

template <class T>
struct Entry {
  T value;
  int64_t index;
};

template <class T>
PF_INLINE bool before(const Entry<T>& a, const Entry<T>& b) {
  const auto x = widened(a.value), y = widened(b.value);
  const bool x_nan = x != x, y_nan = y != y;
  if (x_nan != y_nan) return x_nan;
  if (!x_nan && x != y) return x > y;
  return a.index < b.index;
}

}  // namespace pyformer::PF_ISA
