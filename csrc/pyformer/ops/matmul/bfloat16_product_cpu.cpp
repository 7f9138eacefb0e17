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
  static constexpr int64_t kRows = kVectorBytes == 64 ? 7 : 3, kCols = kVectors * width;
  static constexpr int64_t kRowStep = kRows * kBFloat16Block * 4, kColStep = kCols * kBFloat16Block * 4;
  static constexpr int64_t kBlockBytes = 512 << 10, kTaskProducts = 1 << 19;
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
      r[i] = i < there ? load_widened(at + i * (along ? v.stride : v.k_stride), n) : Vec<float>::zero();
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

  // One block of 32 k: sum += (even chain) + (odd chain).
  template <int rows>
  static PF_INLINE void add_block(const float* a, const float* b, float* c, int64_t c_stride) {
    Vec<float> sum[2][rows][kVectors];
#pragma GCC unroll 2
    for (int parity = 0; parity < 2; ++parity)
#pragma GCC unroll 8
      for (int i = 0; i < rows; ++i)
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) sum[parity][i][v] = Vec<float>::zero();
    for (int64_t p = 0; p < kBFloat16Block; p += 2) {
#pragma GCC unroll 2
      for (int parity = 0; parity < 2; ++parity) {
        Vec<float> bv[kVectors];
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) bv[v] = Vec<float>::load(b + (p + parity) * kCols + v * width);
#pragma GCC unroll 8
        for (int i = 0; i < rows; ++i) {
          const Vec<float> av = Vec<float>::broadcast(a[i * kBFloat16Block + p + parity]);
#pragma GCC unroll 2
          for (int v = 0; v < kVectors; ++v) sum[parity][i][v] = fma(av, bv[v], sum[parity][i][v]);
        }
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        float* at = c + i * c_stride + v * width;
        (Vec<float>::load(at) + (sum[0][i][v] + sum[1][i][v])).store(at);
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

#endif

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const BFloat16ProductTable& KernelsOf<BFloat16ProductTable, PF_ISA::kIsa>::table() {
#if defined(__AVX2__)
  static constexpr BFloat16ProductTable table = PF_ISA::BFloat16Loop<PF_ISA::FmaUnit>::table();
#else
  static constexpr BFloat16ProductTable table = {};
#endif
  return table;
}
}  // namespace pyformer
