// The vector types that CPU kernels are written in. Included only by *_ref.cpp and *_cpu.cpp; the build compiles
// those once per instruction set with PF_ISA naming the namespace (ref, portable, avx2, avx512), so nothing here
// is shared between sets and the linker cannot keep an AVX-512 copy of an inline function for everyone.
//
//   Vec<T>    one machine register of T (float, double); Vec<T>::width elements
//   Lanes<T>  the sixteen virtual lanes of the row-reduction rule: 16 / width registers
//
// The same names (fma, max, min, select, sqrt, abs, round_to_int, ...) work on float and double scalars, so a
// function template over V serves scalar reference code and vector code with the same operations in the same order.
// No function here contracts a*b+c: an FMA is where fma() is written.
#pragma once
#include <cstdint>

#include "pyformer/base/scalar.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace pyformer::PF_ISA {

#if defined(__AVX512F__)
constexpr int64_t kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int64_t kVectorBytes = 32;
#else
constexpr int64_t kVectorBytes = 16;
#endif

// get.operator()<T>() for the floats that a table's kernels are compiled for. Where float64 matters little, which is
// wherever there are neither products nor attention nor norms, AVX-512 leaves it to AVX2: it takes long to compile.
template <class Entry, class Get>
constexpr PerDtype<Entry> for_loop_floats(const Get& get) {
  if constexpr (kVectorBytes == 64)
    return {{get.template operator()<float>()}};
  else
    return for_wide_floats<Entry>(get);
}

template <class T>
struct Register;
template <>
struct Register<float> {
  typedef float Float __attribute__((vector_size(kVectorBytes)));
  typedef int32_t Int __attribute__((vector_size(kVectorBytes)));
  typedef uint32_t Bits __attribute__((vector_size(kVectorBytes)));
  typedef float Unaligned __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
};
template <>
struct Register<double> {
  typedef double Float __attribute__((vector_size(kVectorBytes)));
  typedef int64_t Int __attribute__((vector_size(kVectorBytes)));
  typedef uint64_t Bits __attribute__((vector_size(kVectorBytes)));
  typedef double Unaligned __attribute__((vector_size(kVectorBytes), aligned(8), may_alias));
};
template <class T>
using FloatRegister = typename Register<T>::Float;
template <class T>
using IntRegister = typename Register<T>::Int;
template <class T>
using BitsRegister = typename Register<T>::Bits;

// ---- one register ---------------------------------------------------------------------------------------------

template <class T>
struct Vec {
  using value_type = T;
  static constexpr int64_t width = kVectorBytes / int64_t(sizeof(T));
  FloatRegister<T> r;

  static PF_INLINE Vec zero() { return {FloatRegister<T>{}}; }
  static PF_INLINE Vec broadcast(T x) { return {x - FloatRegister<T>{}}; }  // x - (+0) is x, also for -0
  static PF_INLINE Vec load(const T* p) { return {*reinterpret_cast<const typename Register<T>::Unaligned*>(p)}; }
  PF_INLINE void store(T* p) const { *reinterpret_cast<typename Register<T>::Unaligned*>(p) = r; }
  // Past the caches where the set can: p must be aligned to kVectorBytes, and other threads may read it only after this
  // one's nontemporal_fence().
  PF_INLINE void store_nontemporal(T* p) const { store(p); }

  // The first n elements (0 <= n <= width), the others `fill`. Never touches memory past p + n.
  static PF_INLINE Vec load_partial(const T* p, int64_t n, T fill = T(0)) {
    Vec v = broadcast(fill);
    for (int64_t i = 0; i < width; ++i)
      if (i < n) v.r[i] = p[i];
    return v;
  }
  PF_INLINE void store_partial(T* p, int64_t n) const {
    for (int64_t i = 0; i < width; ++i)
      if (i < n) p[i] = r[i];
  }
};

// A comparison's result: all ones or all zeros in each element.
template <class T>
struct Mask {
  IntRegister<T> r;
};

template <class T>
PF_INLINE Vec<T> operator+(Vec<T> a, Vec<T> b) {
  return {a.r + b.r};
}
template <class T>
PF_INLINE Vec<T> operator-(Vec<T> a, Vec<T> b) {
  return {a.r - b.r};
}
template <class T>
PF_INLINE Vec<T> operator*(Vec<T> a, Vec<T> b) {
  return {a.r * b.r};
}
template <class T>
PF_INLINE Vec<T> operator/(Vec<T> a, Vec<T> b) {
  return {a.r / b.r};
}
template <class T>
PF_INLINE Vec<T> operator-(Vec<T> a) {
  return {-a.r};
}
template <class T>
PF_INLINE Mask<T> operator<(Vec<T> a, Vec<T> b) {
  return {a.r < b.r};
}
template <class T>
PF_INLINE Mask<T> operator>(Vec<T> a, Vec<T> b) {
  return {a.r > b.r};
}
template <class T>
PF_INLINE Mask<T> operator<=(Vec<T> a, Vec<T> b) {
  return {a.r <= b.r};
}
template <class T>
PF_INLINE Mask<T> operator>=(Vec<T> a, Vec<T> b) {
  return {a.r >= b.r};
}
template <class T>
PF_INLINE Mask<T> operator==(Vec<T> a, Vec<T> b) {
  return {a.r == b.r};
}
template <class T>
PF_INLINE Mask<T> operator!=(Vec<T> a, Vec<T> b) {
  return {a.r != b.r};
}
template <class T>
PF_INLINE Vec<T> select(Mask<T> m, Vec<T> a, Vec<T> b) {
  return {m.r ? a.r : b.r};
}

#if defined(__AVX512F__)
template <>
PF_INLINE Vec<float> Vec<float>::broadcast(float x) {
  return {_mm512_set1_ps(x)};
}
template <>
PF_INLINE Vec<double> Vec<double>::broadcast(double x) {
  return {_mm512_set1_pd(x)};
}
template <>
PF_INLINE Vec<float> Vec<float>::load_partial(const float* p, int64_t n, float fill) {
  return {_mm512_mask_loadu_ps(_mm512_set1_ps(fill), __mmask16((1u << n) - 1u), p)};
}
template <>
PF_INLINE Vec<double> Vec<double>::load_partial(const double* p, int64_t n, double fill) {
  return {_mm512_mask_loadu_pd(_mm512_set1_pd(fill), __mmask8((1u << n) - 1u), p)};
}
template <>
PF_INLINE void Vec<float>::store_partial(float* p, int64_t n) const {
  _mm512_mask_storeu_ps(p, __mmask16((1u << n) - 1u), r);
}
template <>
PF_INLINE void Vec<double>::store_partial(double* p, int64_t n) const {
  _mm512_mask_storeu_pd(p, __mmask8((1u << n) - 1u), r);
}
template <>
PF_INLINE void Vec<float>::store_nontemporal(float* p) const {
  _mm512_stream_ps(p, r);
}
template <>
PF_INLINE void Vec<double>::store_nontemporal(double* p) const {
  _mm512_stream_pd(p, r);
}
PF_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) { return {_mm512_fmadd_ps(a.r, b.r, c.r)}; }
PF_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) { return {_mm512_fmadd_pd(a.r, b.r, c.r)}; }
PF_INLINE Vec<float> max(Vec<float> a, Vec<float> b) { return {_mm512_max_ps(a.r, b.r)}; }
PF_INLINE Vec<double> max(Vec<double> a, Vec<double> b) { return {_mm512_max_pd(a.r, b.r)}; }
PF_INLINE Vec<float> min(Vec<float> a, Vec<float> b) { return {_mm512_min_ps(a.r, b.r)}; }
PF_INLINE Vec<double> min(Vec<double> a, Vec<double> b) { return {_mm512_min_pd(a.r, b.r)}; }
PF_INLINE Vec<float> sqrt(Vec<float> a) { return {_mm512_sqrt_ps(a.r)}; }
PF_INLINE Vec<double> sqrt(Vec<double> a) { return {_mm512_sqrt_pd(a.r)}; }
#elif defined(__AVX2__)
PF_INLINE __m256i first_32(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(int(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
PF_INLINE __m256i first_64(int64_t n) {
  return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
}
template <>
PF_INLINE Vec<float> Vec<float>::broadcast(float x) {
  return {_mm256_set1_ps(x)};
}
template <>
PF_INLINE Vec<double> Vec<double>::broadcast(double x) {
  return {_mm256_set1_pd(x)};
}
template <>
PF_INLINE Vec<float> Vec<float>::load_partial(const float* p, int64_t n, float fill) {
  const __m256i m = first_32(n);
  return {_mm256_blendv_ps(_mm256_set1_ps(fill), _mm256_maskload_ps(p, m), _mm256_castsi256_ps(m))};
}
template <>
PF_INLINE Vec<double> Vec<double>::load_partial(const double* p, int64_t n, double fill) {
  const __m256i m = first_64(n);
  return {_mm256_blendv_pd(_mm256_set1_pd(fill), _mm256_maskload_pd(p, m), _mm256_castsi256_pd(m))};
}
template <>
PF_INLINE void Vec<float>::store_partial(float* p, int64_t n) const {
  _mm256_maskstore_ps(p, first_32(n), r);
}
template <>
PF_INLINE void Vec<double>::store_partial(double* p, int64_t n) const {
  _mm256_maskstore_pd(p, first_64(n), r);
}
template <>
PF_INLINE void Vec<float>::store_nontemporal(float* p) const {
  _mm256_stream_ps(p, r);
}
template <>
PF_INLINE void Vec<double>::store_nontemporal(double* p) const {
  _mm256_stream_pd(p, r);
}
PF_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) { return {_mm256_fmadd_ps(a.r, b.r, c.r)}; }
PF_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) { return {_mm256_fmadd_pd(a.r, b.r, c.r)}; }
PF_INLINE Vec<float> max(Vec<float> a, Vec<float> b) { return {_mm256_max_ps(a.r, b.r)}; }
PF_INLINE Vec<double> max(Vec<double> a, Vec<double> b) { return {_mm256_max_pd(a.r, b.r)}; }
PF_INLINE Vec<float> min(Vec<float> a, Vec<float> b) { return {_mm256_min_ps(a.r, b.r)}; }
PF_INLINE Vec<double> min(Vec<double> a, Vec<double> b) { return {_mm256_min_pd(a.r, b.r)}; }
PF_INLINE Vec<float> sqrt(Vec<float> a) { return {_mm256_sqrt_ps(a.r)}; }
PF_INLINE Vec<double> sqrt(Vec<double> a) { return {_mm256_sqrt_pd(a.r)}; }
#else
// Compiler vectors of 16 bytes: SSE2 on x86-64, NEON on aarch64. On x86-64 fma calls the C library for each element,
// which is exact but slow; inlined, those calls would double the time to compile a kernel.
#if defined(__x86_64__)
#define PF_FMA_INLINE inline __attribute__((noinline))
#else
#define PF_FMA_INLINE PF_INLINE
#endif
PF_FMA_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
  for (int i = 0; i < 4; ++i) c.r[i] = __builtin_fmaf(a.r[i], b.r[i], c.r[i]);
  return c;
}
PF_FMA_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
  for (int i = 0; i < 2; ++i) c.r[i] = __builtin_fma(a.r[i], b.r[i], c.r[i]);
  return c;
}
#undef PF_FMA_INLINE
template <class T>
PF_INLINE Vec<T> max(Vec<T> a, Vec<T> b) {
  return {a.r > b.r ? a.r : b.r};
}
template <class T>
PF_INLINE Vec<T> min(Vec<T> a, Vec<T> b) {
  return {a.r < b.r ? a.r : b.r};
}
template <class T>
PF_INLINE Vec<T> sqrt(Vec<T> a) {
  for (int64_t i = 0; i < Vec<T>::width; ++i)
    a.r[i] = sizeof(T) == 4 ? __builtin_sqrtf(a.r[i]) : __builtin_sqrt(a.r[i]);
  return a;
}
#endif

PF_INLINE void nontemporal_fence() {
#if defined(__AVX2__)
  _mm_sfence();
#endif
}

// ---- the bits of registers ------------------------------------------------------------------------------------

template <class T>
constexpr bool kIsReal<Vec<T>> = true;

template <class T>
PF_INLINE BitsRegister<T> to_bits(Vec<T> a) {
  return (BitsRegister<T>)a.r;
}
template <class T>
PF_INLINE Vec<T> from_bits(BitsRegister<T> b) {
  return {(FloatRegister<T>)b};
}

#define PF_BITS_OPERATION(name, expression)               \
  template <class T>                                      \
  PF_INLINE Vec<T> name(Vec<T> x, Vec<T> y) {             \
    const BitsRegister<T> a = to_bits(x), b = to_bits(y); \
    return from_bits<T>(expression);                      \
  }
PF_BITS_OPERATION(bits_and, a& b)
PF_BITS_OPERATION(bits_andnot, ~a& b)
PF_BITS_OPERATION(bits_or, a | b)
PF_BITS_OPERATION(bits_xor, a ^ b)
PF_BITS_OPERATION(bits_add, a + b)
PF_BITS_OPERATION(bits_subtract, a - b)
#undef PF_BITS_OPERATION
template <int k, class T>
PF_INLINE Vec<T> bits_left(Vec<T> x) {
  return from_bits<T>(to_bits(x) << k);
}
template <int k, class T>
PF_INLINE Vec<T> bits_right(Vec<T> x) {
  return from_bits<T>(to_bits(x) >> k);
}

template <class T>
PF_INLINE Mask<T> bits_test(Vec<T> x, Bits<T> b) {
  return {(to_bits(x) & b) != 0};
}

#if defined(__AVX512F__)
PF_INLINE Vec<float> lookup(const float* table, Vec<float> index) {
  const __m512 twice = _mm512_broadcast_f32x8(_mm256_loadu_ps(table));
  return {_mm512_permutexvar_ps(_mm512_castps_si512(index.r), twice)};
}
#elif defined(__AVX2__)
PF_INLINE Vec<float> lookup(const float* table, Vec<float> index) {
  return {_mm256_permutevar8x32_ps(_mm256_loadu_ps(table), _mm256_castps_si256(index.r))};
}
#else
PF_INLINE Vec<float> lookup(const float* table, Vec<float> index) {
  for (int64_t i = 0; i < Vec<float>::width; ++i) index.r[i] = lookup(table, index.r[i]);
  return index;
}
#endif

template <class T>
PF_INLINE Mask<T> mask_and(Mask<T> a, Mask<T> b) {
  return {a.r & b.r};
}
template <class T>
PF_INLINE Mask<T> mask_or(Mask<T> a, Mask<T> b) {
  return {a.r | b.r};
}
template <class T>
PF_INLINE Mask<T> mask_not(Mask<T> a) {
  return {~a.r};
}

template <class T>
PF_INLINE bool any(Mask<T> a) {
#if defined(__AVX512F__)
  return _mm512_test_epi64_mask((__m512i)a.r, (__m512i)a.r) != 0;
#elif defined(__AVX2__)
  return !_mm256_testz_si256((__m256i)a.r, (__m256i)a.r);
#else
  bool found = false;
  for (int64_t i = 0; i < Vec<T>::width; ++i) found = found || a.r[i] != 0;
  return found;
#endif
}

// ---- the sixteen virtual lanes --------------------------------------------------------------------------------

template <class T>
struct Lanes {
  using value_type = T;
  static constexpr int64_t width = kLanes;
  static constexpr int64_t count = kLanes / Vec<T>::width;
  Vec<T> v[count];

  static PF_INLINE Lanes broadcast(T x) {
    Lanes l;
#pragma GCC unroll 8
    for (int64_t i = 0; i < count; ++i) l.v[i] = Vec<T>::broadcast(x);
    return l;
  }
  static PF_INLINE Lanes zero() { return broadcast(T(0)); }
  static PF_INLINE Lanes load(const T* p) {
    Lanes l;
#pragma GCC unroll 8
    for (int64_t i = 0; i < count; ++i) l.v[i] = Vec<T>::load(p + i * Vec<T>::width);
    return l;
  }
  PF_INLINE void store(T* p) const {
#pragma GCC unroll 8
    for (int64_t i = 0; i < count; ++i) v[i].store(p + i * Vec<T>::width);
  }
  static PF_INLINE int64_t part(int64_t n, int64_t i) {  // how many of the first n elements lie in register i
    const int64_t left = n - i * Vec<T>::width;
    return left < 0 ? 0 : left > Vec<T>::width ? Vec<T>::width : left;
  }
  static PF_INLINE Lanes load_partial(const T* p, int64_t n, T fill = T(0)) {
    Lanes l;
#pragma GCC unroll 8
    for (int64_t i = 0; i < count; ++i) l.v[i] = Vec<T>::load_partial(p + i * Vec<T>::width, part(n, i), fill);
    return l;
  }
  PF_INLINE void store_partial(T* p, int64_t n) const {
#pragma GCC unroll 8
    for (int64_t i = 0; i < count; ++i) v[i].store_partial(p + i * Vec<T>::width, part(n, i));
  }
};

template <class T>
struct LanesMask {
  Mask<T> m[Lanes<T>::count];
};

// Applies f to each register of its arguments.
template <class T, class F>
PF_INLINE Lanes<T> each(F f, const Lanes<T>& a) {
  Lanes<T> out;
#pragma GCC unroll 8
  for (int64_t i = 0; i < Lanes<T>::count; ++i) out.v[i] = f(a.v[i]);
  return out;
}
template <class T, class F>
PF_INLINE Lanes<T> each(F f, const Lanes<T>& a, const Lanes<T>& b) {
  Lanes<T> out;
#pragma GCC unroll 8
  for (int64_t i = 0; i < Lanes<T>::count; ++i) out.v[i] = f(a.v[i], b.v[i]);
  return out;
}
template <class T>
PF_INLINE Lanes<T> operator+(const Lanes<T>& a, const Lanes<T>& b) {
  return each([](Vec<T> x, Vec<T> y) { return x + y; }, a, b);
}
template <class T>
PF_INLINE Lanes<T> operator-(const Lanes<T>& a, const Lanes<T>& b) {
  return each([](Vec<T> x, Vec<T> y) { return x - y; }, a, b);
}
template <class T>
PF_INLINE Lanes<T> operator*(const Lanes<T>& a, const Lanes<T>& b) {
  return each([](Vec<T> x, Vec<T> y) { return x * y; }, a, b);
}
template <class T>
PF_INLINE Lanes<T> operator/(const Lanes<T>& a, const Lanes<T>& b) {
  return each([](Vec<T> x, Vec<T> y) { return x / y; }, a, b);
}
template <class T>
PF_INLINE Lanes<T> operator-(const Lanes<T>& a) {
  return each([](Vec<T> x) { return -x; }, a);
}
template <class T>
PF_INLINE Lanes<T> max(const Lanes<T>& a, const Lanes<T>& b) {
  return each([](Vec<T> x, Vec<T> y) { return PF_ISA::max(x, y); }, a, b);
}
template <class T>
PF_INLINE Lanes<T> min(const Lanes<T>& a, const Lanes<T>& b) {
  return each([](Vec<T> x, Vec<T> y) { return PF_ISA::min(x, y); }, a, b);
}
template <class T>
PF_INLINE Lanes<T> sqrt(const Lanes<T>& a) {
  return each([](Vec<T> x) { return PF_ISA::sqrt(x); }, a);
}
template <class T>
PF_INLINE Lanes<T> abs(const Lanes<T>& a) {
  return each([](Vec<T> x) { return PF_ISA::abs(x); }, a);
}
template <class T>
PF_INLINE Lanes<T> round_to_int(const Lanes<T>& a) {
  return each([](Vec<T> x) { return PF_ISA::round_to_int(x); }, a);
}
template <class T>
PF_INLINE Lanes<T> copysign(const Lanes<T>& a, const Lanes<T>& s) {
  return each([](Vec<T> x, Vec<T> y) { return PF_ISA::copysign(x, y); }, a, s);
}

// Compares register by register.
template <class T, class F>
PF_INLINE LanesMask<T> each_mask(F f, const Lanes<T>& a, const Lanes<T>& b) {
  LanesMask<T> out;
#pragma GCC unroll 8
  for (int64_t i = 0; i < Lanes<T>::count; ++i) out.m[i] = f(a.v[i], b.v[i]);
  return out;
}
template <class T>
PF_INLINE LanesMask<T> operator<(const Lanes<T>& a, const Lanes<T>& b) {
  return each_mask([](Vec<T> x, Vec<T> y) { return x < y; }, a, b);
}
template <class T>
PF_INLINE LanesMask<T> operator>(const Lanes<T>& a, const Lanes<T>& b) {
  return each_mask([](Vec<T> x, Vec<T> y) { return x > y; }, a, b);
}
template <class T>
PF_INLINE LanesMask<T> operator<=(const Lanes<T>& a, const Lanes<T>& b) {
  return each_mask([](Vec<T> x, Vec<T> y) { return x <= y; }, a, b);
}
template <class T>
PF_INLINE LanesMask<T> operator>=(const Lanes<T>& a, const Lanes<T>& b) {
  return each_mask([](Vec<T> x, Vec<T> y) { return x >= y; }, a, b);
}
template <class T>
PF_INLINE LanesMask<T> operator==(const Lanes<T>& a, const Lanes<T>& b) {
  return each_mask([](Vec<T> x, Vec<T> y) { return x == y; }, a, b);
}
template <class T>
PF_INLINE LanesMask<T> operator!=(const Lanes<T>& a, const Lanes<T>& b) {
  return each_mask([](Vec<T> x, Vec<T> y) { return x != y; }, a, b);
}
template <class T>
PF_INLINE Lanes<T> select(const LanesMask<T>& m, const Lanes<T>& a, const Lanes<T>& b) {
  Lanes<T> out;
#pragma GCC unroll 8
  for (int64_t i = 0; i < Lanes<T>::count; ++i) out.v[i] = select(m.m[i], a.v[i], b.v[i]);
  return out;
}
template <class T>
PF_INLINE Lanes<T> fma(const Lanes<T>& a, const Lanes<T>& b, const Lanes<T>& c) {
  Lanes<T> out;
#pragma GCC unroll 8
  for (int64_t i = 0; i < Lanes<T>::count; ++i) out.v[i] = fma(a.v[i], b.v[i], c.v[i]);
  return out;
}

// The same tree with f, halving registers: stored lanes that are read back in other sizes wait for the store.
template <class R, class F>
PF_INLINE auto tree_of_register(R r, const F& f) {
  if constexpr (sizeof(r) / sizeof(r[0]) == 16)
    return tree_of_register(f(__builtin_shufflevector(r, r, 0, 1, 2, 3, 4, 5, 6, 7),
                              __builtin_shufflevector(r, r, 8, 9, 10, 11, 12, 13, 14, 15)),
                            f);
  else if constexpr (sizeof(r) / sizeof(r[0]) == 8)
    return tree_of_register(f(__builtin_shufflevector(r, r, 0, 1, 2, 3), __builtin_shufflevector(r, r, 4, 5, 6, 7)), f);
  else if constexpr (sizeof(r) / sizeof(r[0]) == 4)
    return f(f(r[0], r[2]), f(r[1], r[3]));
  else
    return f(r[0], r[1]);
}
template <class T, class F>
PF_INLINE T tree_of_lanes(Lanes<T> l, const F& f) {
#pragma GCC unroll 4
  for (int64_t half = Lanes<T>::count / 2; half > 0; half /= 2)
#pragma GCC unroll 8
    for (int64_t i = 0; i < half; ++i) l.v[i].r = f(l.v[i].r, l.v[i + half].r);
  return tree_of_register(l.v[0].r, f);
}
template <class T>
PF_INLINE T sum_lanes(const Lanes<T>& l) {
  return tree_of_lanes(l, [](auto a, auto b) { return a + b; });
}
template <class T>
PF_INLINE T max_lanes(const Lanes<T>& l) {
  return tree_of_lanes(l, [](auto a, auto b) { return a > b ? a : b; });
}

}  // namespace pyformer::PF_ISA
