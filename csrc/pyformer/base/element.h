// Reading and writing elements in plain loops (*_ref.cpp), one template for all float types: float and double through
// pointers, the 16-bit types widened exactly where they are read and rounded once where they are written.
//
//   const auto x = in<T>(a.x) + row * C;     x[c] is an Accumulator<T>
//   const auto out = to<T>(a.out) + row * C; out[c] = value;
#pragma once
#include "pyformer/base/scalar.h"

namespace pyformer::PF_ISA {

template <class T>
struct AccumulatorOf {
  using type = T;
};
template <>
struct AccumulatorOf<BFloat16> {
  using type = float;
};
template <>
struct AccumulatorOf<Float16> {
  using type = float;
};
// What T is computed and summed in.
template <class T>
using Accumulator = typename AccumulatorOf<T>::type;

template <class T>
PF_INLINE T widened(T x) {
  return x;
}
PF_INLINE float widened(BFloat16 x) { return to_float(x); }
PF_INLINE float widened(Float16 x) { return to_float(x); }

template <class T>
PF_INLINE T rounded(Accumulator<T> x) {
  return x;
}
template <>
PF_INLINE BFloat16 rounded<BFloat16>(float x) {
  return to_bfloat16(x);
}
template <>
PF_INLINE Float16 rounded<Float16>(float x) {
  return to_float16(x);
}

// A pointer to 16-bit floats that reads and writes float.
template <class T, class Pointer>
struct Widening {
  struct Element {
    Pointer at;
    PF_INLINE operator float() const { return to_float(*at); }
    PF_INLINE const Element& operator=(float x) const {
      *at = rounded<T>(x);
      return *this;
    }
  };
  Pointer start;
  PF_INLINE Element operator[](int64_t i) const { return {start + i}; }
  PF_INLINE Widening operator+(int64_t i) const { return {start + i}; }
  PF_INLINE explicit operator bool() const { return start; }
};

template <class T>
struct Access {
  using In = const T*;
  using To = T*;
};
template <>
struct Access<BFloat16> {
  using In = Widening<BFloat16, const BFloat16*>;
  using To = Widening<BFloat16, BFloat16*>;
};
template <>
struct Access<Float16> {
  using In = Widening<Float16, const Float16*>;
  using To = Widening<Float16, Float16*>;
};

// in<T>(pointer) reads elements, to<T>(pointer) writes them. A null pointer gives one that is false.
template <class T>
PF_INLINE typename Access<T>::In in(const void* p) {
  return {static_cast<const T*>(p)};
}
template <class T>
PF_INLINE typename Access<T>::To to(void* p) {
  return {static_cast<T*>(p)};
}

// What a step of an optimiser starts from: `master`, the wide copy of a 16-bit parameter, where its rounding still is
// the parameter; else the parameter, which was written to since the step before.
template <class T>
PF_INLINE Accumulator<T> stepped_from(Accumulator<T> master, T param) {
  return widened(rounded<T>(master)) == widened(param) ? master : widened(param);
}

// get.operator()<T>() for all dtypes, for loops that only move elements: T is the unsigned type of their size.
template <class Entry, class Get>
constexpr PerDtype<Entry> per_item_size(const Get& get) {
  PerDtype<Entry> row = {};
  for (int d = 0; d < kDTypeCount; ++d) {
    const int64_t bytes = kDTypes[d].item_bytes;
    row.entries[d] = bytes == 1   ? get.template operator()<uint8_t>()
                     : bytes == 2 ? get.template operator()<uint16_t>()
                     : bytes == 4 ? get.template operator()<uint32_t>()
                                  : get.template operator()<uint64_t>();
  }
  return row;
}

}  // namespace pyformer::PF_ISA
