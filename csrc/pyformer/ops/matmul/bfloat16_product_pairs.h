// Reading pairs of k, which is what x86's instructions for bfloat16 multiply. For sets that have AVX-512.
#pragma once
#include "pyformer/base/vec.h"
#include "pyformer/ops/matmul/bfloat16_product_kernels.h"

namespace pyformer::PF_ISA {

PF_INLINE uint32_t first_bits(int64_t n) { return n <= 0 ? 0 : n >= 32 ? ~0u : (1u << n) - 1u; }

// The 32 k from `start` on of vector i; zeros beyond the last vector and beyond k. Vectors must lie along k.
PF_INLINE Vec<float> load_k(const BFloat16Vectors& v, int64_t i, int64_t start, int64_t k) {
  if (i >= v.count) return Vec<float>::zero();
  const BFloat16* at = static_cast<const BFloat16*>(v.data) + i * v.stride + start;
  return {_mm512_castsi512_ps(_mm512_maskz_loadu_epi16(first_bits(k - start), at))};
}

// For 16 vectors from i on, k `low` and k `high` in the halves of an element; zeros as above. Vectors must lie side by
// side.
PF_INLINE Vec<float> load_pairs(const BFloat16Vectors& v, int64_t i, int64_t low, int64_t high, int64_t k) {
  const __mmask16 there = __mmask16(first_bits(v.count - i));
  const auto load = [&](int64_t at) {
    const BFloat16* p = static_cast<const BFloat16*>(v.data) + at * v.k_stride + i;
    return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(at < k ? there : __mmask16(0), p));
  };
  return {_mm512_castsi512_ps(_mm512_or_si512(load(low), _mm512_slli_epi32(load(high), 16)))};
}

}  // namespace pyformer::PF_ISA
