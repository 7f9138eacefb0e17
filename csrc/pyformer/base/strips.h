// A row of elements taken a strip at a time: one register in *_cpu.cpp, one element in *_ref.cpp, so that a kernel
// without sums can be one template over V for both.
#pragma once
#include "pyformer/base/element.h"
#if !defined(PF_CUDA)  // its kernels know scalars only
#include "pyformer/base/vec.h"
#endif

namespace pyformer::PF_ISA {

template <class V>
constexpr int64_t kStrip = 1;
#if !defined(PF_CUDA)
template <class T>
constexpr int64_t kStrip<Vec<T>> = Vec<T>::width;
#endif

// The first n (at most kStrip<V>) elements at p; zeros after them.
template <Real V>
PF_INLINE V load_strip(const Element<V>* p, int64_t n) {
  if constexpr (kStrip<V> == 1)
    return *p;
  else
    return n == kStrip<V> ? V::load(p) : V::load_partial(p, n);
}
template <Real V>
PF_INLINE void store_strip(V value, Element<V>* p, int64_t n) {
  if constexpr (kStrip<V> == 1)
    *p = value;
  else
    n == kStrip<V> ? value.store(p) : value.store_partial(p, n);
}

// The same for 16-bit floats in *_ref.cpp, where a strip is one element.
template <Real V, class T, class Pointer>
PF_INLINE V load_strip(const Widening<T, Pointer>& p, int64_t) {
  return p[0];
}
template <class T, class Pointer>
PF_INLINE void store_strip(float value, const Widening<T, Pointer>& p, int64_t) {
  p[0] = value;
}

// Calls body(i, n) for the strips of [begin, end): n elements from i on.
template <class V, class Body>
PF_INLINE void for_each_strip(int64_t begin, int64_t end, const Body& body) {
  int64_t i = begin;
  for (; i + kStrip<V> <= end; i += kStrip<V>) body(i, kStrip<V>);
  if (i < end) body(i, end - i);
}

}  // namespace pyformer::PF_ISA
