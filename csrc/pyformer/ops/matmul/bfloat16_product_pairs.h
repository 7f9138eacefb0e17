// Reading pairs of k, which is what x86's instructions for bfloat16 multiply. For sets that have AVX-512.
#pragma once
#include "pyformer/base/bfloat16_vec.h"
#include "pyformer/ops/matmul/bfloat16_product_kernels.h"

namespace pyformer::PF_ISA {

PF_INLINE uint32_t first_bits(int64_t n) { return n <= 0 ? 0 : n >= 32 ? ~0u : (1u << n) - 1u; }

// Both rounded: x first.
PF_INLINE __m512i rounded_together(__m512 x, __m512 y) {
#if defined(__AVX512BF16__)
  constexpr int kDenormal = 0x20;  // the instruction takes them for zeros
  if ((_mm512_fpclass_ps_mask(x, kDenormal) | _mm512_fpclass_ps_mask(y, kDenormal)) == 0)
    return (__m512i)_mm512_cvtne2ps_pbh(y, x);
#endif
  return _mm512_inserti64x4(_mm512_castsi256_si512(rounded_bfloat16({x})), rounded_bfloat16({y}), 1);
}

// The 32 k from `start` on of vector i; zeros beyond the last vector and beyond k. Vectors must lie along k.
PF_INLINE __m512i load_k(const BFloat16* at, int64_t n) { return _mm512_maskz_loadu_epi16(first_bits(n), at); }
PF_INLINE __m512i load_k(const Unrounded* at, int64_t n) {
  return rounded_together(_mm512_maskz_loadu_ps(__mmask16(first_bits(n)), at),
                          _mm512_maskz_loadu_ps(__mmask16(first_bits(n - 16)), at + 16));
}
template <class S>
PF_INLINE Vec<float> load_k(const BFloat16Vectors& v, const S* data, int64_t i, int64_t start, int64_t k) {
  constexpr int64_t kAheadBytes = 512, kLineBytes = 64;
  if (i >= v.count) return Vec<float>::zero();
  const S* const at = data + i * v.stride + start;
  for (int64_t line = 0; line < int64_t(kBFloat16Block * sizeof(S)); line += kLineBytes)
    __builtin_prefetch(reinterpret_cast<const char*>(at) + kAheadBytes + line, 0, 3);
  return {_mm512_castsi512_ps(load_k(at, k - start))};
}

// For 16 vectors from i on, k `low` and k `high` in the halves of an element; zeros as above. Vectors must lie side by
// side.
PF_INLINE __m512i join_pairs(const BFloat16* low, __mmask16 low_there, const BFloat16* high, __mmask16 high_there) {
  const auto load = [](const BFloat16* p, __mmask16 there) {
    return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(there, p));
  };
  return _mm512_or_si512(load(low, low_there), _mm512_slli_epi32(load(high, high_there), 16));
}
PF_INLINE __m512i join_pairs(const Unrounded* low, __mmask16 low_there, const Unrounded* high, __mmask16 high_there) {
  alignas(64) static constexpr uint16_t kOrder[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                      8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512i x = rounded_together(_mm512_maskz_loadu_ps(low_there, low), _mm512_maskz_loadu_ps(high_there, high));
  return _mm512_permutexvar_epi16(_mm512_load_si512(kOrder), x);
}
template <class S>
PF_INLINE Vec<float> load_pairs(const BFloat16Vectors& v, const S* data, int64_t i, int64_t low, int64_t high,
                                int64_t k) {
  const __mmask16 there = __mmask16(first_bits(v.count - i));
  const auto at = [&](int64_t p) { return data + p * v.k_stride + i; };
  const auto mask = [&](int64_t p) { return p < k ? there : __mmask16(0); };
  return {_mm512_castsi512_ps(join_pairs(at(low), mask(low), at(high), mask(high)))};
}

}  // namespace pyformer::PF_ISA
