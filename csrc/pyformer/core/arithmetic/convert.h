// From one element type to another, for kernels: Convert<To, From>::of(x), where 16-bit floats come widened.
#pragma once
#include "pyformer/base/element.h"
#include "pyformer/core/arithmetic/arithmetic_kernels.h"
#include "pyformer/core/arithmetic/sixteen_bits.h"

namespace pyformer::PF_ISA {

template <class T>
constexpr bool kIsFloating = false;
template <>
constexpr bool kIsFloating<float> = true;
template <>
constexpr bool kIsFloating<double> = true;

// The least and the greatest value of an integer type.
template <class T>
constexpr T kGreatest = T(T(-1) < T(0) ? (uint64_t(1) << (8 * sizeof(T) - 1)) - 1 : ~uint64_t(0));
template <class T>
constexpr T kLeast = T(T(-1) < T(0) ? T(-kGreatest<T> - 1) : T(0));

template <class To, class From>
struct Convert {
  static PF_INLINE To of(From x) {
    if constexpr (kIsFloating<From> && !kIsFloating<To>) {
      constexpr From limit = From(kGreatest<To>) + 1;
      if (x >= limit) return kGreatest<To>;
      if (x < From(kLeast<To>)) return kLeast<To>;
      return x != x ? To(0) : To(x);
    } else {
      return To(x);
    }
  }
};
template <class From>
struct Convert<bool, From> {
  static PF_INLINE bool of(From x) { return x != From(0); }
};
template <class From>
struct Convert<BFloat16, From> {
  static PF_INLINE BFloat16 of(From x) { return to_bfloat16(before_rounding(x)); }
};
template <class From>
struct Convert<Float16, From> {
  static PF_INLINE Float16 of(From x) { return to_float16(before_rounding(x)); }
};

template <class From>
static void convert_elements(const Cast& a, int64_t begin, int64_t end) {
  const From* x = static_cast<const From*>(a.x);
  with_dtype(a.wanted, [&]<class To>() {
    To* out = static_cast<To*>(a.out);
    for (int64_t i = begin; i < end; ++i) out[i] = Convert<To, decltype(widened(x[i]))>::of(widened(x[i]));
  });
}

}  // namespace pyformer::PF_ISA
