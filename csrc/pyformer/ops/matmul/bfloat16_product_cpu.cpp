// Products of bfloat16 by fused multiply-adds of float32: operands are widened where they are packed, and each element
// of a tile has a chain for even and one for odd k. Denormals are zeros by the CPU's own mode, for the tile alone. The
// portable set, whose FMA is a library call, leaves these products to the plain loops.
#include "pyformer/ops/matmul/bfloat16_product_loop.h"
#include "pyformer/ops/matmul/matmul_pack.h"
#if defined(__AVX2__)
#include "pyformer/ops/matmul/bfloat16_product_flush.h"
#endif

namespace pyformer::PF_ISA {

#if defined(__AVX2__)

struct FmaUnit {
  static constexpr int64_t width = Vec<float>::width;
  static constexpr int kVectors = 2;
  // Chains of even and of odd k that are added up at once. Of 16 registers, sums of six rows of one leave what is
  // needed beside them; three rows of both would read a half more for each product.
  static constexpr int kChains = kVectorBytes == 64 ? 2 : 1, kUnroll = 2 / kChains;
  static constexpr int64_t kRows = kVectorBytes == 64 ? 7 : 6, kCols = kVectors * width;
  static constexpr int64_t kRowStep = kRows * kBFloat16Block * 4, kColStep = kCols * kBFloat16Block * 4;
  static constexpr int64_t kBlockBytes = 512 << 10, kTaskProducts = 1 << 19;
  static constexpr bool kIsSeparate = false;
  static void begin() {}
  static void end() {}

  // A step of rows is [kRows][32 k], so that rows along k need no turning; of columns [32 k][kCols].
  static void pack_rows(const BFloat16Vectors& v, int64_t k, void* packed) {
    float* to = static_cast<float*>(packed);
    with_elements(v, [&](const auto* data) {
      for (int64_t start = 0; start < k; start += kBFloat16Block, to += kRows * kBFloat16Block)
        for (int64_t j = 0; j < kBFloat16Block; j += width)
          pack_square(v, data + (start + j) * v.k_stride, k - start - j, to + j);
    });
  }
  // `width` k from `at` on, of which `left` are there.
  template <class S>
  static PF_INLINE void pack_square(const BFloat16Vectors& v, const S* at, int64_t left, float* to) {
    const bool along = v.k_stride == 1;
    const int64_t there = along ? v.count : left, length = along ? left : v.count;
    const int64_t n = length < 0 ? 0 : length < width ? length : width;
    Vec<float> r[width];
#pragma GCC unroll 16
    for (int64_t i = 0; i < width; ++i)
      if (const S* const from = at + i * (along ? v.stride : v.k_stride); i >= there)
        r[i] = Vec<float>::zero();
      else
        r[i] = n == width ? load_widened(from) : load_widened(from, n);
    if (!along) transpose(r);
#pragma GCC unroll 8
    for (int64_t i = 0; i < kRows; ++i) r[i].store(to + i * kBFloat16Block);
  }
  static void pack_cols(const BFloat16Vectors& v, int64_t k, void* packed) {
    float* to = static_cast<float*>(packed);
    with_elements(v, [&](const auto* data) { pack_panel(data, v.stride, v.k_stride, v.count, k, kCols, to); });
    const int64_t padded = steps_of(k) * kBFloat16Block;
    for (int64_t i = k * kCols; i < padded * kCols; ++i) to[i] = 0.0f;
  }

  // The chains of k = 0, 2, 4, ... of a block that begins at a and b; with two, also that of k = 1, 3, 5, ...
  template <int rows>
  static PF_INLINE void add_chains(const float* a, const float* b, Vec<float> (&sum)[kChains][rows][kVectors]) {
#pragma GCC unroll 2
    for (int chain = 0; chain < kChains; ++chain)
#pragma GCC unroll 8
      for (int i = 0; i < rows; ++i)
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) sum[chain][i][v] = Vec<float>::zero();
#pragma GCC unroll kUnroll
    for (int64_t p = 0; p < kBFloat16Block; p += 2) {
#pragma GCC unroll 2
      for (int chain = 0; chain < kChains; ++chain) {
        Vec<float> bv[kVectors];
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) bv[v] = Vec<float>::load(b + (p + chain) * kCols + v * width);
#pragma GCC unroll 8
        for (int i = 0; i < rows; ++i) {
          const Vec<float> av = Vec<float>::broadcast(a[i * kBFloat16Block + p + chain]);
#pragma GCC unroll 2
          for (int v = 0; v < kVectors; ++v) sum[chain][i][v] = fma(av, bv[v], sum[chain][i][v]);
        }
      }
    }
  }

  // One block of 32 k: c += (even chain) + (odd chain).
  template <int rows>
  static PF_INLINE void add_block(const float* a, const float* b, float* c, int64_t c_stride) {
    Vec<float> even[kChains][rows][kVectors], odd[kChains][rows][kVectors];
    add_chains<rows>(a, b, even);
    if constexpr (kChains == 1) add_chains<rows>(a + 1, b + kCols, odd);
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        float* at = c + i * c_stride + v * width;
        const Vec<float> both = even[0][i][v] + (kChains == 1 ? odd[0][i][v] : even[kChains - 1][i][v]);
        (Vec<float>::load(at) + both).store(at);
      }
  }

  template <int rows>
  static __attribute__((noinline)) void add_blocks(const float* a, const float* b, int64_t steps, float* c,
                                                   int64_t c_stride) {
    for (int64_t s = 0; s < steps; ++s)
      add_block<rows>(a + s * kRows * kBFloat16Block, b + s * kCols * kBFloat16Block, c, c_stride);
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
      for (int64_t j = 0; j < kCols; j += width) Vec<float>::zero().store(c + i * c_stride + j);
    const FlushDenormals mode;
    function(rows)(static_cast<const float*>(a), static_cast<const float*>(b), steps, c, c_stride);
  }
};

// ---- few rows -------------------------------------------------------------------------------------------------

constexpr int kThinRows = 4;
constexpr int64_t kThinAhead =
    (16 << 10) / 2;  // elements: what is asked for so far ahead is in the second cache in time

// The pairs of k of a register's width of vectors, one after the other; zeros beyond k.
struct ThinPairs {
  static constexpr int64_t width = Vec<float>::width, kPairs = width, kParts = kBFloat16Block / (2 * kPairs);
  Vec<float> r[kPairs];

  static PF_INLINE Vec<float> load(const BFloat16* p, int64_t left) {
    if (left >= 2 * kPairs) return Vec<float>::load(reinterpret_cast<const float*>(p));
    alignas(64) BFloat16 line[2 * kPairs] = {};
    for (int64_t i = 0; i < left; ++i) line[i] = p[i];
    return Vec<float>::load(reinterpret_cast<const float*>(line));
  }
  // r[pair] has a pair of each row, of which `left` k from `at` on are there.
  PF_INLINE void load_turned(const BFloat16* const (&row)[width], int64_t at, int64_t left) {
#if !defined(__AVX512F__)
    if (left >= 2 * kPairs) return load_turned(row, at);
#endif
#pragma GCC unroll 16
    for (int64_t j = 0; j < width; ++j) r[j] = load(row[j] + at, left);
    transpose(r);
  }
#if !defined(__AVX512F__)
  // Halves of registers come from memory to where they belong: a third less work for the unit that moves elements.
  PF_INLINE void load_turned(const BFloat16* const (&row)[width], int64_t at) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      __m256 both[4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const auto quarter = [&](int i) {
          return _mm_loadu_ps(reinterpret_cast<const float*>(row[i] + at + 8 * half));
        };
        both[j] = _mm256_insertf128_ps(_mm256_castps128_ps256(quarter(j)), quarter(j + 4), 1);
      }
      const __m256d low[2] = {_mm256_castps_pd(_mm256_unpacklo_ps(both[0], both[1])),
                              _mm256_castps_pd(_mm256_unpacklo_ps(both[2], both[3]))};
      const __m256d high[2] = {_mm256_castps_pd(_mm256_unpackhi_ps(both[0], both[1])),
                               _mm256_castps_pd(_mm256_unpackhi_ps(both[2], both[3]))};
      r[4 * half] = {_mm256_castpd_ps(_mm256_unpacklo_pd(low[0], low[1]))};
      r[4 * half + 1] = {_mm256_castpd_ps(_mm256_unpackhi_pd(low[0], low[1]))};
      r[4 * half + 2] = {_mm256_castpd_ps(_mm256_unpacklo_pd(high[0], high[1]))};
      r[4 * half + 3] = {_mm256_castpd_ps(_mm256_unpackhi_pd(high[0], high[1]))};
    }
  }
#endif
  PF_INLINE Vec<float> even(int64_t pair) const {
    return {(FloatRegister<float>)((BitsRegister<float>)r[pair].r << 16)};
  }
  PF_INLINE Vec<float> odd(int64_t pair) const {
    return {(FloatRegister<float>)((BitsRegister<float>)r[pair].r & 0xffff0000u)};
  }
};

// sums[rows][width] = the sums of `cols` vectors from b on.
template <int rows>
static void thin_tile(const BFloat16Thin& g, int64_t col, int64_t cols, float* sums) {
  constexpr int64_t width = Vec<float>::width;
  const int64_t padded = steps_of(g.k) * kBFloat16Block;
  const BFloat16* row[width];
  for (int64_t j = 0; j < width; ++j)
    row[j] = static_cast<const BFloat16*>(g.b) + (col + (j < cols ? j : cols - 1)) * g.b_stride;
  Vec<float> total[rows];
  for (int i = 0; i < rows; ++i) total[i] = Vec<float>::zero();
  const FlushDenormals mode;
  for (int64_t start = 0; start < g.k; start += kBFloat16Block) {
    Vec<float> even[rows], odd[rows];
    for (int i = 0; i < rows; ++i) even[i] = odd[i] = Vec<float>::zero();
    // Lines in order of address, not row by row, which memory is slower at.
#pragma GCC unroll 16
    for (int64_t line = 0; line < width; ++line)
      __builtin_prefetch(row[0] + start * width + line * 32 + kThinAhead, 0, 2);
#pragma GCC unroll 2
    for (int64_t part = 0; part < ThinPairs::kParts; ++part) {
      const int64_t at = start + part * 2 * ThinPairs::kPairs;
      ThinPairs x;
      x.load_turned(row, at, g.k - at);
#pragma GCC unroll 16
      for (int64_t p = 0; p < ThinPairs::kPairs; ++p) {
        const Vec<float> low = x.even(p), high = x.odd(p);
#pragma GCC unroll 4
        for (int i = 0; i < rows; ++i) {
          const float* const a = g.a + i * padded + at + 2 * p;
          even[i] = fma(Vec<float>::broadcast(a[0]), low, even[i]);
          odd[i] = fma(Vec<float>::broadcast(a[1]), high, odd[i]);
        }
      }
    }
    for (int i = 0; i < rows; ++i) total[i] = total[i] + (even[i] + odd[i]);
  }
  for (int i = 0; i < rows; ++i) total[i].store(sums + i * width);
}

template <int rows = kThinRows>
static auto thin_function(int64_t wanted) {
  if constexpr (rows > 1)
    if (wanted < rows) return thin_function<rows - 1>(wanted);
  return thin_tile<rows>;
}

static void thin(const BFloat16Thin& g, int64_t begin, int64_t end) {
  constexpr int64_t width = Vec<float>::width;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t col = item * width, cols = g.n - col < width ? g.n - col : width;
    alignas(64) float sums[kThinRows * width];
    thin_function(g.m)(g, col, cols, sums);
    BFloat16Multiply out = {};
    out.c = g.c;
    out.c_stride = g.c_stride;
    out.epilogue = g.epilogue;
    g.wide_c ? store_sums<float>(out, sums, width, 0, g.m, col, cols)
             : store_sums<BFloat16>(out, sums, width, 0, g.m, col, cols);
  }
}

static constexpr BFloat16ProductTable fma_table() {
  BFloat16ProductTable t = BFloat16Loop<FmaUnit>::table();
  t.thin_rows.entries[int(DType::bfloat16)] = kThinRows;
  t.thin.entries[int(DType::bfloat16)] = thin;
  return t;
}

#endif

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const BFloat16ProductTable& KernelsOf<BFloat16ProductTable, PF_ISA::kIsa>::table() {
#if defined(__AVX2__)
  static constexpr BFloat16ProductTable table = PF_ISA::fma_table();
#else
  static constexpr BFloat16ProductTable table = {};
#endif
  return table;
}
}  // namespace pyformer
