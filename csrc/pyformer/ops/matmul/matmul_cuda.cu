// Products: c = epilogue(op(a) op(b)), each element ((p0 + p1) + p2) + ..., p_i a sum from +0 over 256 consecutive k.
// Of 16-bit floats tensor cores take it (matmul_sm80.h, on a Hopper matmul_sm90.h, of few rows matmul_thin_sm80.h),
// float32 being rounded before (matmul_rounded.h); of others it is one FMA chain, as in matmul_ref.cpp (matmul_fma.h).
// Tile, batch and m change no bits.
#include "pyformer/ops/matmul/matmul_fma.h"
#include "pyformer/ops/matmul/matmul_rounded.h"
#include "pyformer/ops/matmul/matmul_sm80.h"
#include "pyformer/ops/matmul/matmul_sm90.h"
#include "pyformer/ops/matmul/matmul_thin_sm80.h"

namespace pyformer::cuda {

template <class T, int rows>
__global__ void __launch_bounds__(kThreads) multiply(const Gemm g) {
  using Fma = FmaTile<rows, T>;
  const Tile tile = tile_of(g, Fma::kHeight, Fma::kWidth);
  const Vectors a = rows_of<T>(g, tile.batch), b = cols_of<T>(g, tile.batch);
  // What is outside stays as it is, and is not used. Neighbouring threads read neighbouring elements.
  const auto load = [&](const Vectors& v, int64_t first, int64_t chain, int64_t start, int64_t stop, auto& strip) {
    Fma::each_factor(start, stop, v.k_stride == 1, strip, [&](int64_t p, int64_t i, T& factor) {
      if (first + i < v.count) factor = in<T>(v.data)[(first + i) * v.stride + (chain * kChainLength + p) * v.k_stride];
    });
  };
  typename Fma::Sums sum = {};
  const auto each = [&](const auto& use) {
    Fma::each(tile.row, tile.col, sum, [&](int64_t row, int64_t col, T& value) {
      if (row < g.m && col < g.n) use(tile.at(g, row, col), col, value);
    });
  };
  if (g.continue_sum) each([&](int64_t at, int64_t, T& value) { value = in<T>(g.c)[at]; });
  Fma::add_chains(
      shared_memory<typename Fma::Shared>(), ceil_div(g.k, kChainLength),
      [&](int64_t c) { return g.k - c * kChainLength < kChainLength ? g.k - c * kChainLength : kChainLength; },
      [&](int64_t c, int64_t start, int64_t stop, auto& strip) { load(a, tile.row, c, start, stop, strip); },
      [&](int64_t c, int64_t start, int64_t stop, auto& strip) { load(b, tile.col, c, start, stop, strip); },
      !g.continue_sum, sum);
  with_activation(g.epilogue.activation, [&]<class F>() {
    each([&](int64_t at, int64_t col, T& value) { store_finished<F, T>(g, at, col, value); });
  });
}

template <class T, int rows>
static void start_fma(const Gemm& g) {
  using Fma = FmaTile<rows, T>;
  start(multiply<T, rows>, tiles_of(g, Fma::kHeight, Fma::kWidth), kThreads, sizeof(typename Fma::Shared), g);
}

template <class T>
static void multiply_tiles(const Gemm& g) {
  if constexpr (kBuiltForSm90)
    if (has_wgmma() && sm90_takes(g)) return multiply_on_sm90<T>(g);
  start(multiply_sm80<T>, tiles_of(g, Sm80::kTile, Sm80::kTile), Sm80::kThreads, sizeof(Sm80::Shared<T>), g);
}

template <class T>
static void start_multiply(const Gemm& g) {
  if constexpr (sizeof(T) == 2) {
    if (Thin::takes(g)) return multiply_few_rows<T>(g);
    with_rounded_operands(g, [](const Gemm& rounded) {
      Thin::takes(rounded) ? multiply_few_rows<T>(rounded) : multiply_tiles<T>(rounded);
    });
  } else {
    g.m <= FmaTile<1>::kHeight ? start_fma<T, 1>(g) : start_fma<T, 4>(g);
  }
}

static int64_t no_panels(int64_t, int64_t) { return 0; }

template <>
const GemmTable& cuda_table<GemmTable>() {
  static constexpr GemmTable table = {
      .multiply = for_each_float<Program<Gemm>>([]<class T>() -> Program<Gemm> { return start_multiply<T>; }),
      .panel_bytes = for_each_float<PanelBytes>([]<class T>() -> PanelBytes { return no_panels; }),
      .pack = for_each_float<Program<GemmPack>>([]<class T>() -> Program<GemmPack> { return [](const GemmPack&) {}; })};
  return table;
}

}  // namespace pyformer::cuda
