// Products of bfloat16 by AMX. TDPBF16PS on tiles of 16 x 32 and 32 x 16 is the sum of bfloat16_dot.h; MXCSR is neither
// read nor written. A tile here is 2 x 2 of the CPU's.
//
// A step of a panel, 32 vectors and 32 k, is two of the CPU's tiles of 16 rows of 64 bytes. Of A: a row is one vector.
// Of B: a row is one pair of k of 16 vectors.
#include "pyformer/ops/matmul/bfloat16_product_loop.h"
#include "pyformer/ops/matmul/bfloat16_product_pairs.h"
#include "pyformer/ops/matmul/matmul_pack.h"

namespace pyformer::PF_ISA {

// ---- the CPU's tiles ------------------------------------------------------------------------------------------

// The compiler's own intrinsics do not say that they read memory, so it may move stores past them.
template <int tile>
static PF_INLINE void load_tile(const void* base, int64_t stride) {
  asm volatile("tileloadd (%1,%2,1), %%tmm%c0" ::"i"(tile), "r"(base), "r"(stride) : "memory");
}
template <int tile>
static PF_INLINE void store_tile(void* base, int64_t stride) {
  asm volatile("tilestored %%tmm%c0, (%1,%2,1)" ::"i"(tile), "r"(base), "r"(stride) : "memory");
}
template <int tile>
static PF_INLINE void zero_tile() {
  asm volatile("tilezero %%tmm%c0" ::"i"(tile));
}
// c += a b
template <int c, int a, int b>
static PF_INLINE void multiply_tiles() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(c), "i"(a), "i"(b));
}
// One that lies packed. What passes by once is to drive nothing out of L1.
template <int tile, bool passes>
static PF_INLINE void load_operand(const char* base) {
  if constexpr (passes)
    asm volatile("tileloaddt1 (%1,%2,1), %%tmm%c0" ::"i"(tile), "r"(base), "r"(int64_t(64)) : "memory");
  else
    load_tile<tile>(base, 64);
}

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static const TileConfig kTileConfig;

struct AmxUnit {
  static constexpr int64_t kRows = 32, kCols = 32, kTileBytes = 1024;
  static constexpr int64_t kRowStep = 2 * kTileBytes, kColStep = 2 * kTileBytes;
  static constexpr int64_t kBlockBytes = 1 << 20, kTaskProducts = 1 << 22;
  static constexpr bool kIsSeparate = true;

  // Tiles that stay configured make each switch of threads save 8 KiB.
  static void begin() { asm volatile("ldtilecfg %0" ::"m"(kTileConfig)); }
  static void end() { asm volatile("tilerelease" ::); }

  template <bool two_rows, bool two_cols, bool rows_pass>
  static void multiply(const char* a, const char* b, int64_t steps, float* c, int64_t c_stride, bool fresh,
                       Meanwhile* meanwhile) {
    const int64_t c_bytes = c_stride * 4;
    float* const below = c + 16 * c_stride;
    if (fresh) {
      zero_tile<0>();
      zero_tile<1>();
      zero_tile<2>();
      zero_tile<3>();
    } else {
      load_tile<0>(c, c_bytes);
      if constexpr (two_cols) load_tile<1>(c + 16, c_bytes);
      if constexpr (two_rows) load_tile<2>(below, c_bytes);
      if constexpr (two_rows && two_cols) load_tile<3>(below + 16, c_bytes);
    }
    for (int64_t s = 0; s < steps; ++s) {
      load_operand<4, rows_pass>(a);
      load_operand<6, !rows_pass>(b);
      if constexpr (two_rows) load_operand<5, rows_pass>(a + kTileBytes);
      if constexpr (two_cols) load_operand<7, !rows_pass>(b + kTileBytes);
      multiply_tiles<0, 4, 6>();
      if constexpr (two_cols) multiply_tiles<1, 4, 7>();
      if constexpr (two_rows) multiply_tiles<2, 5, 6>();
      if constexpr (two_rows && two_cols) multiply_tiles<3, 5, 7>();
      if (meanwhile) meanwhile->step();
      a += kRowStep;
      b += kColStep;
    }
    store_tile<0>(c, c_bytes);
    if constexpr (two_cols) store_tile<1>(c + 16, c_bytes);
    if constexpr (two_rows) store_tile<2>(below, c_bytes);
    if constexpr (two_rows && two_cols) store_tile<3>(below + 16, c_bytes);
  }

  template <bool rows_pass>
  static auto function(bool two_rows, bool two_cols) {
    return two_rows ? (two_cols ? multiply<true, true, rows_pass> : multiply<true, false, rows_pass>)
                    : (two_cols ? multiply<false, true, rows_pass> : multiply<false, false, rows_pass>);
  }

  static void tile(const void* a, const void* b, int64_t steps, float* c, int64_t c_stride, int64_t rows, int64_t cols,
                   bool fresh, bool rows_pass, Meanwhile* meanwhile = nullptr) {
    const auto f = rows_pass ? function<true>(rows > 16, cols > 16) : function<false>(rows > 16, cols > 16);
    f(static_cast<const char*>(a), static_cast<const char*>(b), steps, c, c_stride, fresh, meanwhile);
  }

  // ---- packing ------------------------------------------------------------------------------------------------

  // to[j] = load(j), or their transpose, for 16 registers of 16 pairs.
  template <bool transposed, class Load>
  static PF_INLINE void write_tile(char* to, const Load& load) {
    Vec<float> r[16];
#pragma GCC unroll 16
    for (int j = 0; j < 16; ++j) r[j] = load(j);
    if constexpr (transposed) transpose(r);
#pragma GCC unroll 16
    for (int j = 0; j < 16; ++j) _mm512_store_ps(to + j * 64, r[j].r);
  }

  // `by_vector`: a row of a tile is 32 k of a vector, else a pair of k of 16 vectors.
  template <bool by_vector, class S>
  static void pack(const BFloat16Vectors& v, const S* data, int64_t k, void* packed) {
    char* to = static_cast<char*>(packed);
    for (int64_t start = 0; start < k; start += kBFloat16Block)
      for (int64_t i = 0; i < 32; i += 16, to += kTileBytes) {
        if (v.k_stride == 1)
          write_tile<!by_vector>(to, [&](int64_t j) { return load_k(v, data, i + j, start, k); });
        else
          write_tile<by_vector>(to,
                                [&](int64_t j) { return load_pairs(v, data, i, start + 2 * j, start + 2 * j + 1, k); });
      }
  }
  static void pack_rows(const BFloat16Vectors& v, int64_t k, void* packed) {
    with_elements(v, [&](const auto* data) { pack<true>(v, data, k, packed); });
  }
  static void pack_cols(const BFloat16Vectors& v, int64_t k, void* packed) {
    with_elements(v, [&](const auto* data) { pack<false>(v, data, k, packed); });
  }
};

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const BFloat16ProductTable& KernelsOf<BFloat16ProductTable, PF_ISA::kIsa>::table() {
  static constexpr BFloat16ProductTable table = PF_ISA::BFloat16Loop<PF_ISA::AmxUnit>::table();
  return table;
}
}  // namespace pyformer
