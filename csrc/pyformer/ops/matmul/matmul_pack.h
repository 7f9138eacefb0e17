// In-register transposes and the packing of operands into panels of T, from T or from bfloat16. For *_cpu.cpp.
#pragma once
#include "pyformer/base/bfloat16_vec.h"

namespace pyformer::PF_ISA {

// ---- r[i][j] becomes r[j][i], for as many registers as one has elements -----------------------------------------

#if defined(__AVX512F__)
// u[g][c] holds, in 128-bit lane l, part g of column l * count + c; gathers the parts of each column.
template <class R, int count, class Shuffle88, class ShuffleDd>
PF_INLINE void gather_lanes(const R (&u)[4][count], R* out, const Shuffle88& even, const ShuffleDd& odd) {
#pragma GCC unroll 4
  for (int c = 0; c < count; ++c) {
    const R even01 = even(u[0][c], u[1][c]), odd01 = odd(u[0][c], u[1][c]);
    const R even23 = even(u[2][c], u[3][c]), odd23 = odd(u[2][c], u[3][c]);
    out[c] = even(even01, even23);
    out[count + c] = even(odd01, odd23);
    out[2 * count + c] = odd(even01, even23);
    out[3 * count + c] = odd(odd01, odd23);
  }
}
PF_INLINE void transpose(Vec<float> (&r)[16]) {
  __m512 u[4][4], out[16];
#pragma GCC unroll 4
  for (int g = 0; g < 4; ++g) {
    const __m512 a = r[4 * g].r, b = r[4 * g + 1].r, c = r[4 * g + 2].r, d = r[4 * g + 3].r;
    const __m512d ab_low = _mm512_castps_pd(_mm512_unpacklo_ps(a, b)),
                  ab_high = _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
    const __m512d cd_low = _mm512_castps_pd(_mm512_unpacklo_ps(c, d)),
                  cd_high = _mm512_castps_pd(_mm512_unpackhi_ps(c, d));
    u[g][0] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab_low, cd_low));
    u[g][1] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab_low, cd_low));
    u[g][2] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab_high, cd_high));
    u[g][3] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab_high, cd_high));
  }
  gather_lanes<__m512, 4>(
      u, out, [](__m512 x, __m512 y) { return _mm512_shuffle_f32x4(x, y, 0x88); },
      [](__m512 x, __m512 y) { return _mm512_shuffle_f32x4(x, y, 0xdd); });
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i].r = out[i];
}
PF_INLINE void transpose(Vec<double> (&r)[8]) {
  __m512d u[4][2], out[8];
#pragma GCC unroll 4
  for (int g = 0; g < 4; ++g) {
    u[g][0] = _mm512_unpacklo_pd(r[2 * g].r, r[2 * g + 1].r);
    u[g][1] = _mm512_unpackhi_pd(r[2 * g].r, r[2 * g + 1].r);
  }
  gather_lanes<__m512d, 2>(
      u, out, [](__m512d x, __m512d y) { return _mm512_shuffle_f64x2(x, y, 0x88); },
      [](__m512d x, __m512d y) { return _mm512_shuffle_f64x2(x, y, 0xdd); });
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) r[i].r = out[i];
}
#elif defined(__AVX2__)
PF_INLINE void transpose(Vec<float> (&r)[8]) {
  __m256 u[2][4];
#pragma GCC unroll 2
  for (int g = 0; g < 2; ++g) {
    const __m256 a = r[4 * g].r, b = r[4 * g + 1].r, c = r[4 * g + 2].r, d = r[4 * g + 3].r;
    const __m256d ab_low = _mm256_castps_pd(_mm256_unpacklo_ps(a, b)),
                  ab_high = _mm256_castps_pd(_mm256_unpackhi_ps(a, b));
    const __m256d cd_low = _mm256_castps_pd(_mm256_unpacklo_ps(c, d)),
                  cd_high = _mm256_castps_pd(_mm256_unpackhi_ps(c, d));
    u[g][0] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab_low, cd_low));
    u[g][1] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab_low, cd_low));
    u[g][2] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab_high, cd_high));
    u[g][3] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab_high, cd_high));
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    r[c].r = _mm256_permute2f128_ps(u[0][c], u[1][c], 0x20);
    r[4 + c].r = _mm256_permute2f128_ps(u[0][c], u[1][c], 0x31);
  }
}
PF_INLINE void transpose(Vec<double> (&r)[4]) {
  const __m256d a = _mm256_unpacklo_pd(r[0].r, r[1].r), b = _mm256_unpackhi_pd(r[0].r, r[1].r);
  const __m256d c = _mm256_unpacklo_pd(r[2].r, r[3].r), d = _mm256_unpackhi_pd(r[2].r, r[3].r);
  r[0].r = _mm256_permute2f128_pd(a, c, 0x20);
  r[1].r = _mm256_permute2f128_pd(b, d, 0x20);
  r[2].r = _mm256_permute2f128_pd(a, c, 0x31);
  r[3].r = _mm256_permute2f128_pd(b, d, 0x31);
}
#else
template <class T>
PF_INLINE void transpose(Vec<T> (&r)[Vec<T>::width]) {
  for (int i = 0; i < Vec<T>::width; ++i)
    for (int j = 0; j < i; ++j) {
      const T swapped = r[i].r[j];
      r[i].r[j] = r[j].r[i];
      r[j].r[i] = swapped;
    }
}
#endif

// ---- panels ---------------------------------------------------------------------------------------------------

// The first n elements, 0 < n <= width. For AVX2 by halves: its masked store takes a dozen cycles on AMD's CPUs.
template <class T>
PF_INLINE void store_first(Vec<T> x, T* to, int64_t n) {
  n == Vec<T>::width ? x.store(to) : x.store_partial(to, n);
}
#if defined(__AVX2__) && !defined(__AVX512F__)
template <>
PF_INLINE void store_first(Vec<float> x, float* to, int64_t n) {
  if (n == 8) return x.store(to);
  __m128 part = _mm256_castps256_ps128(x.r);
  if (n & 4) {
    _mm_storeu_ps(to, part);
    part = _mm256_extractf128_ps(x.r, 1);
    to += 4;
  }
  if (n & 2) {
    _mm_storel_pi(reinterpret_cast<__m64*>(to), part);
    part = _mm_movehl_ps(part, part);
    to += 2;
  }
  if (n & 1) _mm_store_ss(to, part);
}
template <>
PF_INLINE void store_first(Vec<double> x, double* to, int64_t n) {
  if (n == 4) return x.store(to);
  __m128d part = _mm256_castpd256_pd128(x.r);
  if (n & 2) {
    _mm_storeu_pd(to, part);
    part = _mm256_extractf128_pd(x.r, 1);
    to += 2;
  }
  if (n & 1) _mm_store_sd(to, part);
}
#endif

// packed[p * panel_width + i] = source[i * stride + p] for i < count, zero for count <= i < panel_width.
template <class T, class S>
static void pack_transposed(const S* source, int64_t stride, int64_t count, int64_t k, int64_t panel_width, T* packed) {
  constexpr int64_t width = Vec<T>::width;
  for (int64_t i = 0; i < panel_width; i += width)
    for (int64_t p = 0; p < k; p += width) {
      Vec<T> r[width];
      const int64_t depth = k - p < width ? k - p : width;
      const S* from = source + i * stride + p;
      if (depth == width) {
#pragma GCC unroll 16
        for (int64_t j = 0; j < width; ++j) r[j] = i + j < count ? load_widened(from + j * stride) : Vec<T>::zero();
      } else {
#pragma GCC unroll 16
        for (int64_t j = 0; j < width; ++j)
          r[j] = i + j < count ? load_widened(from + j * stride, depth) : Vec<T>::zero();
      }
      transpose(r);
      T* to = packed + p * panel_width + i;
      const int64_t valid = panel_width - i < width ? panel_width - i : width;
      if (valid == width && depth == width) {
#pragma GCC unroll 16
        for (int64_t j = 0; j < width; ++j) r[j].store(to + j * panel_width);
      } else {
#pragma GCC unroll 16
        for (int64_t j = 0; j < width; ++j)
          if (j < depth) store_first(r[j], to + j * panel_width, valid);
      }
    }
}

// packed[p * panel_width + i] = source[p * k_stride + i], zero as above.
template <class T, class S>
static void pack_rows(const S* source, int64_t k_stride, int64_t count, int64_t k, int64_t panel_width, T* packed) {
  constexpr int64_t width = Vec<T>::width;
  for (int64_t p = 0; p < k; ++p)
    for (int64_t i = 0; i < panel_width; i += width) {
      const S* from = source + p * k_stride + i;
      const int64_t there = count - i < 0 ? 0 : count - i < width ? count - i : width;
      const int64_t wanted = panel_width - i < width ? panel_width - i : width;
      const Vec<T> x = there == width ? load_widened(from) : load_widened(from, there);
      store_first(x, packed + p * panel_width + i, wanted);
    }
}

// One panel of `count` vectors along k, stored `panel_width` apart.
template <class T, class S>
static void pack_panel(const S* source, int64_t stride, int64_t k_stride, int64_t count, int64_t k, int64_t panel_width,
                       T* packed) {
  if (k_stride == 1)
    pack_transposed(source, stride, count, k, panel_width, packed);
  else
    pack_rows(source, k_stride, count, k, panel_width, packed);
}

}  // namespace pyformer::PF_ISA
