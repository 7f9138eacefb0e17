// Products of 16-bit floats with at most 16 rows, as in decoding: a block of 8 warps computes 16 x 8 elements, each
// warp the chains w, w + 8, ... of all of them. Operands go from memory to registers in the places that mma.m16n8k16
// has for them, float32 being rounded on the way, so an element has the bits that multiply_sm80 gives it.
#pragma once
#include "pyformer/cuda/ptx.h"
#include "pyformer/ops/matmul/matmul_tiles.h"

namespace pyformer::cuda {

struct Thin {
  static constexpr int kRows = 16, kCols = 8, kWarps = 8, kThreads = kWarps * 32;
  struct Shared {
    alignas(8) float chains[kWarps][kRows * kCols];
  };
  // Both operands' vectors are read along k, two elements at a time; one of them may be float32.
  static bool takes(const Gemm& g) {
    const auto in_pairs = [](const Operand& o) {
      const uintptr_t pair_bytes = o.wide ? 8 : 4;
      return o.stride % 2 == 0 && o.batch_stride % 2 == 0 && reinterpret_cast<uintptr_t>(o.data) % pair_bytes == 0;
    };
    return !(g.a.wide && g.b.wide) && g.m <= kRows && g.k % 2 == 0 && !g.a.transposed && g.b.transposed &&
           in_pairs(g.a) && in_pairs(g.b);
  }

  // Elements at, at + 1 of a vector; zeros outside.
  template <class T, class Stored>
  static DEVICE uint32_t pair(const Vectors& v, int64_t vector, int64_t at, int64_t k) {
    if (vector >= v.count || at >= k) return 0;
    const Packed<Stored, 2> two = load<2>(static_cast<const Stored*>(v.data) + vector * v.stride + at);
    if constexpr (std::is_same_v<T, Stored>)
      return uint32_t(two[0].bits) | uint32_t(two[1].bits) << 16;
    else
      return packed<T>(two[0], two[1]);
  }

  // The sum over [start, start + kChainLength), in the layout of mma. A and B are what operands are stored as.
  template <class T, class A, class B>
  static DEVICE void multiply(const Vectors& a, const Vectors& b, int64_t col, int64_t start, int64_t k,
                              float (&chain)[4]) {
    const int g = int(threadIdx.x) % 32 / 4, t = int(threadIdx.x) % 4;
    const int64_t stop = start + kChainLength < k ? start + kChainLength : k;
    [[maybe_unused]] constexpr int kUnrolled =
        sizeof(A) + sizeof(B) == 2 * sizeof(T) ? 4 : 2;  // more floats are spilled on sm_86
#pragma unroll kUnrolled
    for (int64_t step = start; step < stop; step += 16) {
      const int64_t low = step + 2 * t, high = low + 8;
      const uint32_t x[4] = {pair<T, A>(a, g, low, k), pair<T, A>(a, g + 8, low, k), pair<T, A>(a, g, high, k),
                             pair<T, A>(a, g + 8, high, k)};
      const uint32_t y[2] = {pair<T, B>(b, col + g, low, k), pair<T, B>(b, col + g, high, k)};
      mma_m16n8k16<T>(chain, x, y);
    }
  }
};

template <class T, class A, class B>
__global__ void __launch_bounds__(Thin::kThreads) multiply_thin(const Gemm g) {
  Thin::Shared& s = shared_memory<Thin::Shared>();
  const Tile tile = tile_of(g, Thin::kRows, Thin::kCols);
  const Vectors a = rows_of<A>(g, tile.batch), b = cols_of<B>(g, tile.batch);
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32, own = int(threadIdx.x);
  const int64_t own_row = own / Thin::kCols, own_col = tile.col + own % Thin::kCols;
  const bool has_own = own_row < g.m && own_col < g.n;  // the element that this thread finishes
  const int64_t at = tile.at(g, own_row, own_col), chains = ceil_div(g.k, kChainLength);
  float sum = has_own && g.continue_sum ? static_cast<const float*>(g.c)[at] : 0.0f;
  bool is_first = !g.continue_sum;
  for (int64_t first = 0; first < chains; first += Thin::kWarps) {
    if (first + warp < chains) {
      float chain[4] = {};
      Thin::multiply<T, A, B>(a, b, tile.col, (first + warp) * kChainLength, g.k, chain);
#pragma unroll
      for (int h = 0; h < 2; ++h)
        store(s.chains[warp] + (lane / 4 + 8 * h) * Thin::kCols + lane % 4 * 2,
              Packed<float, 2>{chain[2 * h], chain[2 * h + 1]});
    }
    __syncthreads();
    for (int w = 0; has_own && w < Thin::kWarps && first + w < chains; ++w) {
      sum = is_first ? s.chains[w][own] : sum + s.chains[w][own];
      is_first = false;
    }
    __syncthreads();
  }
  if (!has_own) return;
  with_activation(g.epilogue.activation, [&]<class F>() {
    if (g.wide_c)
      store_finished<F, float>(g, at, own_col, sum);
    else
      store_finished<F, T>(g, at, own_col, sum);
  });
}

template <class T>
static void multiply_few_rows(const Gemm& g) {
  auto kernel = multiply_thin<T, T, T>;
  if constexpr (std::is_same_v<T, BFloat16>)
    if (g.a.wide || g.b.wide) kernel = g.a.wide ? multiply_thin<T, float, T> : multiply_thin<T, T, float>;
  start(kernel, tiles_of(g, Thin::kRows, Thin::kCols), Thin::kThreads, sizeof(Thin::Shared), g);
}

}  // namespace pyformer::cuda
