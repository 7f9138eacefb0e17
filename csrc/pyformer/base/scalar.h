// Scalars under the names that vec.h has for registers: float and double, so that a function template over V serves
// plain loops, vector code and CUDA kernels with the same operations in the same order. The build sets PF_ISA, which
// names the namespace: an instruction set of the CPU (see vec.h), or cuda.
//
// No function here contracts a*b+c: an FMA is where fma() is written.
#pragma once
#include <cstdint>

#include "pyformer/base/kernel.h"

#ifndef PF_ISA
#error "scalar.h is for kernel files: the build sets PF_ISA"
#endif

#if defined(__CUDACC__)
#define PF_INLINE __host__ __device__ __forceinline__
#define PF_NOINLINE inline __host__ __device__ __noinline__
#define PF_TABLE __device__ constexpr  // an array of constants that is read by index
#else
#define PF_INLINE inline __attribute__((always_inline))
#define PF_NOINLINE inline __attribute__((noinline))
#define PF_TABLE constexpr
#endif

namespace pyformer::PF_ISA {

#if !defined(PF_CUDA)
constexpr Isa kIsa = Isa::PF_ISA;
#endif

// max and min return b where a comparison with NaN is involved, as the vector instructions do.
#if defined(__CUDA_ARCH__)
PF_INLINE float fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
PF_INLINE double fma(double a, double b, double c) { return __fma_rn(a, b, c); }
PF_INLINE float sqrt(float a) { return __fsqrt_rn(a); }
PF_INLINE double sqrt(double a) { return __dsqrt_rn(a); }
#else
PF_INLINE float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
PF_INLINE double fma(double a, double b, double c) { return __builtin_fma(a, b, c); }
PF_INLINE float sqrt(float a) { return __builtin_sqrtf(a); }
PF_INLINE double sqrt(double a) { return __builtin_sqrt(a); }
#endif
PF_INLINE float max(float a, float b) { return a > b ? a : b; }
PF_INLINE double max(double a, double b) { return a > b ? a : b; }
PF_INLINE float min(float a, float b) { return a < b ? a : b; }
PF_INLINE double min(double a, double b) { return a < b ? a : b; }
PF_INLINE float select(bool m, float a, float b) { return m ? a : b; }
PF_INLINE double select(bool m, double a, double b) { return m ? a : b; }

// ---- one name for a register and a scalar ---------------------------------------------------------------------

template <class V>
struct ElementOf {
  using type = typename V::value_type;
};
template <>
struct ElementOf<float> {
  using type = float;
};
template <>
struct ElementOf<double> {
  using type = double;
};
template <class V>
using Element = typename ElementOf<V>::type;

template <class T>
struct BitsOf {
  using type = uint64_t;
};
template <>
struct BitsOf<float> {
  using type = uint32_t;
};
template <class V>
using Bits = typename BitsOf<Element<V>>::type;

template <class V>
inline constexpr bool kIsReal = false;
template <>
inline constexpr bool kIsReal<float> = true;
template <>
inline constexpr bool kIsReal<double> = true;
// float, double, Vec<float> or Vec<double>: what an elementary function takes.
template <class V>
concept Real = kIsReal<V>;

template <class V>
struct Splat {
  static PF_INLINE V of(Element<V> x) { return V::broadcast(x); }
};
template <>
struct Splat<float> {
  static PF_INLINE float of(float x) { return x; }
};
template <>
struct Splat<double> {
  static PF_INLINE double of(double x) { return x; }
};
// x in every element.
template <class V>
PF_INLINE V splat(Element<V> x) {
  return Splat<V>::of(x);
}

// ---- the bits of floats, as integers of the same width --------------------------------------------------------

PF_INLINE uint32_t to_bits(float x) { return __builtin_bit_cast(uint32_t, x); }
PF_INLINE uint64_t to_bits(double x) { return __builtin_bit_cast(uint64_t, x); }
PF_INLINE float from_bits(uint32_t b) { return __builtin_bit_cast(float, b); }
PF_INLINE double from_bits(uint64_t b) { return __builtin_bit_cast(double, b); }
template <class V>
PF_INLINE V splat_bits(Bits<V> b) {
  return splat<V>(from_bits(b));
}

PF_INLINE int leading_zeros(uint64_t x) {  // of x > 0
#if defined(__CUDA_ARCH__)
  return __clzll(int64_t(x));
#else
  return __builtin_clzll(x);
#endif
}

// Each takes and gives floats and works on their bits: a & b, ~a & b, a | b, a ^ b, integer a + b and a - b modulo
// 2^32 or 2^64, shifts that bring in zeros.
#define PF_BITS_OPERATION(name, expression)        \
  PF_INLINE float name(float x, float y) {         \
    const uint32_t a = to_bits(x), b = to_bits(y); \
    return from_bits(uint32_t(expression));        \
  }                                                \
  PF_INLINE double name(double x, double y) {      \
    const uint64_t a = to_bits(x), b = to_bits(y); \
    return from_bits(uint64_t(expression));        \
  }
PF_BITS_OPERATION(bits_and, a& b)
PF_BITS_OPERATION(bits_andnot, ~a& b)
PF_BITS_OPERATION(bits_or, a | b)
PF_BITS_OPERATION(bits_xor, a ^ b)
PF_BITS_OPERATION(bits_add, a + b)
PF_BITS_OPERATION(bits_subtract, a - b)
#undef PF_BITS_OPERATION
template <int k>
PF_INLINE float bits_left(float x) {
  return from_bits(to_bits(x) << k);
}
template <int k>
PF_INLINE double bits_left(double x) {
  return from_bits(to_bits(x) << k);
}
template <int k>
PF_INLINE float bits_right(float x) {
  return from_bits(to_bits(x) >> k);
}
template <int k>
PF_INLINE double bits_right(double x) {
  return from_bits(to_bits(x) >> k);
}

// Which elements have any of the given bits set.
PF_INLINE bool bits_test(float x, uint32_t b) { return (to_bits(x) & b) != 0; }
PF_INLINE bool bits_test(double x, uint64_t b) { return (to_bits(x) & b) != 0; }

template <Real V>
PF_INLINE V sign_bit() {
  return splat<V>(Element<V>(-0.0));
}
template <Real V>
PF_INLINE V abs(V x) {
  return bits_andnot(sign_bit<V>(), x);
}
// The magnitude of x with the sign of s.
template <Real V>
PF_INLINE V copysign(V x, V s) {
  return bits_or(abs(x), bits_and(sign_bit<V>(), s));
}

// table[i] with i the low three bits of index, for floats: a permutation of one register.
PF_INLINE float lookup(const float* table, float index) { return table[to_bits(index) & 7]; }

// 2^23 or 2^52, from where on every value is an integer.
template <class T>
constexpr T kFirstIntegerOnly = T(sizeof(T) == 4 ? 0x1p23 : 0x1p52);

// The nearest integer, ties to even; the sign stays, also of a zero.
template <Real V>
PF_INLINE V round_to_int(V x) {
  const V big = splat<V>(kFirstIntegerOnly<Element<V>>);
  const V magnitude = abs(x);
  return select(magnitude < big, copysign((magnitude + big) - big, x), x);
}

PF_INLINE bool mask_and(bool a, bool b) { return a && b; }
PF_INLINE bool mask_or(bool a, bool b) { return a || b; }
PF_INLINE bool mask_not(bool a) { return !a; }
PF_INLINE bool any(bool a) { return a; }

// ---- the sixteen virtual lanes --------------------------------------------------------------------------------

// Lanes meet in a fixed binary tree: lane i with lane i + 8, then + 4, + 2, + 1.
template <class T>
PF_INLINE T sum_lanes(const T* lane) {
  T s[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) s[i] = lane[i];
  for (int64_t half = kLanes / 2; half > 0; half /= 2)
    for (int64_t i = 0; i < half; ++i) s[i] = s[i] + s[i + half];
  return s[0];
}

template <class T>
PF_INLINE T max_lanes(const T* lane) {
  T s[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) s[i] = lane[i];
  for (int64_t half = kLanes / 2; half > 0; half /= 2)
    for (int64_t i = 0; i < half; ++i) s[i] = PF_ISA::max(s[i], s[i + half]);
  return s[0];
}

}  // namespace pyformer::PF_ISA
