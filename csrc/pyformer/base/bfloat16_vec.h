// Registers of float from and to 16-bit floats in memory: widened exactly, rounded as to_bfloat16 does. For *_cpu.cpp
// and its like.
#pragma once
#include "pyformer/base/vec.h"

namespace pyformer::PF_ISA {

// The first n (0 <= n <= width) elements at p, zeros after them.
template <class T>
PF_INLINE Vec<T> load_widened(const T* p) {
  return Vec<T>::load(p);
}
template <class T>
PF_INLINE Vec<T> load_widened(const T* p, int64_t n) {
  return Vec<T>::load_partial(p, n);
}
template <class T>
PF_INLINE void store_rounded(Vec<T> x, T* p) {
  x.store(p);
}
template <class T>
PF_INLINE void store_rounded(Vec<T> x, T* p, int64_t n) {
  x.store_partial(p, n);
}

// A float32 that is read as the bfloat16 next to it.
struct Unrounded {
  float x;
};

#if defined(__AVX512F__)
PF_INLINE Vec<float> widened(__m256i x) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16))};
}
PF_INLINE Vec<float> load_widened(const BFloat16* p) {
  return widened(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
PF_INLINE Vec<float> load_widened(const BFloat16* p, int64_t n) {
  return widened(_mm256_maskz_loadu_epi16(__mmask16((1u << n) - 1u), p));
}
PF_INLINE __m256i rounded_bfloat16(Vec<float> x) {
#if defined(__AVX512BF16__)
  constexpr int kDenormal = 0x20;  // the instruction takes them for zeros
  if (_mm512_fpclass_ps_mask(x.r, kDenormal) == 0) return (__m256i)_mm512_cvtneps_pbh(x.r);
#endif
  const __m512i bits = _mm512_castps_si512(x.r), one = _mm512_set1_epi32(1);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), one);
  const __m512i up = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
  const __m512i out = _mm512_mask_mov_epi32(up, _mm512_cmp_ps_mask(x.r, x.r, _CMP_UNORD_Q), quiet);
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(out, 16));
}
PF_INLINE void store_rounded(Vec<float> x, BFloat16* p) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), rounded_bfloat16(x));
}
PF_INLINE void store_rounded(Vec<float> x, BFloat16* p, int64_t n) {
  _mm256_mask_storeu_epi16(p, __mmask16((1u << n) - 1u), rounded_bfloat16(x));
}
#elif defined(__AVX2__)
PF_INLINE Vec<float> widened(__m128i x) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16))};
}
PF_INLINE Vec<float> load_widened(const BFloat16* p) {
  return widened(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
PF_INLINE Vec<float> load_widened(const BFloat16* p, int64_t n) {
  if (n == 8) return load_widened(p);
  uint64_t low = 0, high = 0;
  if (n >= 4) {
    __builtin_memcpy(&low, p, 8);
    if (n > 4) __builtin_memcpy(&high, p + n - 4, 8), high >>= 16 * (8 - n);
  } else {
    for (int64_t i = 0; i < n; ++i) low |= uint64_t(p[i].bits) << 16 * i;
  }
  return widened(_mm_set_epi64x(int64_t(high), int64_t(low)));
}
PF_INLINE void store_rounded(Vec<float> x, BFloat16* p) {
  const __m256i bits = _mm256_castps_si256(x.r), one = _mm256_set1_epi32(1);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), one);
  const __m256i up = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(x.r, x.r, _CMP_UNORD_Q));
  const __m256i out = _mm256_srli_epi32(_mm256_blendv_epi8(up, quiet, is_nan), 16);
  const __m256i halves = _mm256_permute4x64_epi64(_mm256_packus_epi32(out, out), 0x08);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(halves));
}
PF_INLINE void store_rounded(Vec<float> x, BFloat16* p, int64_t n) {
  if (n == 8) return store_rounded(x, p);
  BFloat16 all[8];
  store_rounded(x, all);
  for (int64_t i = 0; i < n; ++i) p[i] = all[i];
}
#else
PF_INLINE Vec<float> load_widened(const BFloat16* p, int64_t n) {
  Vec<float> x = Vec<float>::zero();
  for (int64_t i = 0; i < Vec<float>::width; ++i)
    if (i < n) x.r[i] = to_float(p[i]);
  return x;
}
PF_INLINE void store_rounded(Vec<float> x, BFloat16* p, int64_t n) {
  for (int64_t i = 0; i < Vec<float>::width; ++i)
    if (i < n) p[i] = to_bfloat16(x.r[i]);
}
PF_INLINE Vec<float> load_widened(const BFloat16* p) { return load_widened(p, Vec<float>::width); }
PF_INLINE void store_rounded(Vec<float> x, BFloat16* p) { store_rounded(x, p, Vec<float>::width); }
#endif

// x rounded to bfloat16, as float32.
PF_INLINE Vec<float> rounded_to_bfloat16(Vec<float> x) {
  const BitsRegister<float> bits = (BitsRegister<float>)x.r;
  const BitsRegister<float> up = bits + 0x7fffu + ((bits >> 16) & 1u), quiet = bits | 0x400000u;
  const BitsRegister<float> out = ((x.r != x.r) ? quiet : up) & 0xffff0000u;
  return {(FloatRegister<float>)out};
}
PF_INLINE Vec<float> load_widened(const Unrounded* p) { return rounded_to_bfloat16(Vec<float>::load(&p->x)); }
PF_INLINE Vec<float> load_widened(const Unrounded* p, int64_t n) {
  return rounded_to_bfloat16(Vec<float>::load_partial(&p->x, n));
}

}  // namespace pyformer::PF_ISA
