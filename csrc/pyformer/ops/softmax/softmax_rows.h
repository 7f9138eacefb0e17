// Row maxima in vector code, for softmax and for losses made of it.
#pragma once
#include "pyformer/base/reduce.h"

namespace pyformer::PF_ISA {

template <class T>
constexpr T kMinusInfinity = -T(__builtin_inf());

// Loads 16 elements, or n < 16 with -inf after them: exp of which adds nothing.
template <class T>
PF_INLINE Lanes<T> load_logits(const T* p, int64_t n) {
  return n == kLanes ? Lanes<T>::load(p) : Lanes<T>::load_partial(p, n, kMinusInfinity<T>);
}

// The largest element that is not NaN, -inf if there is none.
template <class T>
static T row_max(const T* x, int64_t n) {
  Lanes<T> m[4];
  for (Lanes<T>& lanes : m) lanes = Lanes<T>::broadcast(kMinusInfinity<T>);
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes)
    for (int64_t j = 0; j < 4; ++j) m[j] = max(Lanes<T>::load(x + i + j * kLanes), m[j]);
  for (; i < n; i += kLanes) m[0] = max(load_logits(x + i, n - i < kLanes ? n - i : kLanes), m[0]);
  return max_lanes(max(max(m[0], m[1]), max(m[2], m[3])));
}

}  // namespace pyformer::PF_ISA
