// Products of bfloat16 by VDPBF16PS, which is two FMAs in a row, of the high and then of the low half of each element,
// with denormals as zeros whatever MXCSR says. So that they are two steps of one chain, the halves hold k and k + 2.
//
// A step of a panel is 16 rows of such pairs, a pair a vector: 8 of even and 8 of odd k.
#include "pyformer/ops/matmul/bfloat16_product_flush.h"
#include "pyformer/ops/matmul/bfloat16_product_loop.h"
#include "pyformer/ops/matmul/bfloat16_product_pairs.h"
#include "pyformer/ops/matmul/matmul_pack.h"

namespace pyformer::PF_ISA {

struct PairUnit {
  static constexpr int kVectors = 2, kPairs = 16;
  static constexpr int64_t kRows = 7, kCols = 16 * kVectors;
  static constexpr int64_t kRowStep = kRows * kPairs * 4, kColStep = kCols * kPairs * 4;
  static constexpr int64_t kBlockBytes = 256 << 10, kTaskProducts = 1 << 20;
  static constexpr bool kIsSeparate = false;
  static void begin() {}
  static void end() {}

  // The two k of pair d of a step.
  static constexpr int64_t first_k(int64_t d) { return 4 * (d % 8) + d / 8; }
  static constexpr int64_t second_k(int64_t d) { return first_k(d) + 2; }

  // 16 vectors from i on, `width` of them kept, each a step of k.
  template <class S>
  static PF_INLINE void pack_square(const BFloat16Vectors& v, const S* data, int64_t i, int64_t start, int64_t k,
                                    int64_t panel_width, int64_t width, float* to) {
    Vec<float> r[kPairs];
    if (v.k_stride == 1) {
      alignas(64) static constexpr uint16_t kOrder[32] = {2, 0, 6, 4, 10, 8, 14, 12, 18, 16, 22, 20, 26, 24, 30, 28,
                                                          3, 1, 7, 5, 11, 9, 15, 13, 19, 17, 23, 21, 27, 25, 31, 29};
      const __m512i order = _mm512_load_si512(kOrder);
#pragma GCC unroll 16
      for (int j = 0; j < kPairs; ++j) {
        const __m512i x = _mm512_castps_si512(load_k(v, data, i + j, start, k).r);
        r[j].r = _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, x));
      }
      transpose(r);
    } else {
#pragma GCC unroll 16
      for (int d = 0; d < kPairs; ++d) r[d] = load_pairs(v, data, i, start + second_k(d), start + first_k(d), k);
    }
#pragma GCC unroll 16
    for (int d = 0; d < kPairs; ++d) r[d].store_partial(to + d * panel_width, width);
  }

  template <int64_t panel_width, class S>
  static void pack(const BFloat16Vectors& v, const S* data, int64_t k, void* packed) {
    float* to = static_cast<float*>(packed);
    for (int64_t start = 0; start < k; start += kBFloat16Block, to += kPairs * panel_width)
      for (int64_t i = 0; i < panel_width; i += 16)
        pack_square(v, data, i, start, k, panel_width, panel_width < 16 ? panel_width : 16, to + i);
  }
  static void pack_rows(const BFloat16Vectors& v, int64_t k, void* packed) {
    with_elements(v, [&](const auto* data) { pack<kRows>(v, data, k, packed); });
  }
  static void pack_cols(const BFloat16Vectors& v, int64_t k, void* packed) {
    with_elements(v, [&](const auto* data) { pack<kCols>(v, data, k, packed); });
  }

  static PF_INLINE __m512 multiply_add(Vec<float> sum, Vec<float> a, Vec<float> b) {
    return _mm512_dpbf16_ps(sum.r, (__m512bh)a.r, (__m512bh)b.r);
  }

  // One step: c += (even chain) + (odd chain).
  template <int rows>
  static PF_INLINE void add_block(const float* a, const float* b, float* c, int64_t c_stride) {
    Vec<float> sum[2][rows][kVectors];
#pragma GCC unroll 2
    for (int parity = 0; parity < 2; ++parity)
#pragma GCC unroll 8
      for (int i = 0; i < rows; ++i)
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) sum[parity][i][v] = Vec<float>::zero();
    for (int64_t d = 0; d < kPairs / 2; ++d) {
#pragma GCC unroll 2
      for (int parity = 0; parity < 2; ++parity) {
        const int64_t at = d + parity * (kPairs / 2);
        Vec<float> bv[kVectors];
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) bv[v] = Vec<float>::load(b + at * kCols + v * 16);
#pragma GCC unroll 8
        for (int i = 0; i < rows; ++i) {
          const Vec<float> av = Vec<float>::broadcast(a[at * kRows + i]);
#pragma GCC unroll 2
          for (int v = 0; v < kVectors; ++v) sum[parity][i][v].r = multiply_add(sum[parity][i][v], av, bv[v]);
        }
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        float* at = c + i * c_stride + v * 16;
        (Vec<float>::load(at) + (sum[0][i][v] + sum[1][i][v])).store(at);
      }
  }

  template <int rows>
  static __attribute__((noinline)) void add_blocks(const float* a, const float* b, int64_t steps, float* c,
                                                   int64_t c_stride) {
    for (int64_t s = 0; s < steps; ++s) add_block<rows>(a + s * kRows * kPairs, b + s * kCols * kPairs, c, c_stride);
  }

  template <int rows = int(kRows)>
  static auto function(int64_t wanted) {
    if constexpr (rows > 1)
      if (wanted < rows) return function<rows - 1>(wanted);
    return add_blocks<rows>;
  }

  static void tile(const void* a, const void* b, int64_t steps, float* c, int64_t c_stride, int64_t rows, int64_t,
                   bool fresh, bool) {
    for (int64_t i = 0; fresh && i < rows; ++i)
      for (int64_t j = 0; j < kCols; j += 16) Vec<float>::zero().store(c + i * c_stride + j);
    const FlushDenormals mode;
    function(rows)(static_cast<const float*>(a), static_cast<const float*>(b), steps, c, c_stride);
  }
};

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const BFloat16ProductTable& KernelsOf<BFloat16ProductTable, PF_ISA::kIsa>::table() {
  static constexpr BFloat16ProductTable table = PF_ISA::BFloat16Loop<PF_ISA::PairUnit>::table();
  return table;
}
}  // namespace pyformer
