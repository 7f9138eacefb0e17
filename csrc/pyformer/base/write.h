// Writing a row of results in vector code.
#pragma once
#include "pyformer/base/vec.h"

namespace pyformer::PF_ISA {

// Loads a register, or its first n elements with zeros after them.
template <class T>
PF_INLINE Vec<T> load_vec(const T* p, int64_t n) {
  return n == Vec<T>::width ? Vec<T>::load(p) : Vec<T>::load_partial(p, n);
}

template <class T>
PF_INLINE void store_vec(Vec<T> v, T* p, int64_t n) {
  n == Vec<T>::width ? v.store(p) : v.store_partial(p, n);
}

// Prefetches elements that the first pass over a later row will read. Called from a pass that computes, during which
// memory is idle. p may lie outside of any array.
template <class T>
PF_INLINE void prefetch_lanes(const T* p) {
  constexpr int64_t kLine = 64;
  for (int64_t i = 0; i < kLanes; i += kLine / int64_t(sizeof(T))) __builtin_prefetch(p + i, 0, 2);
}

// out[i .. i + n) = f(i, n) over a row; n is a register's width except at the ends. Where nontemporal is set it is
// written past the caches: the caller must call nontemporal_fence() when it has written all it writes.
template <class T, class F>
PF_INLINE void write_row(T* out, int64_t size, bool nontemporal, const F& f) {
  constexpr int64_t width = Vec<T>::width;
  const int64_t to_aligned =
      nontemporal ? int64_t((-reinterpret_cast<uint64_t>(out) & (kVectorBytes - 1)) / sizeof(T)) : 0;
  // One loop around both ends, so that f is compiled for a part of a register once.
  int64_t i = 0, part = to_aligned < size ? to_aligned : size;
  for (;;) {
    if (part > 0) f(i, part).store_partial(out + i, part);
    i += part;
    for (; i + width <= size; i += width) {
      const Vec<T> value = f(i, width);
      nontemporal ? value.store_nontemporal(out + i) : value.store(out + i);
    }
    part = size - i;
    if (part == 0) return;
  }
}

}  // namespace pyformer::PF_ISA
