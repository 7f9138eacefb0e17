// Products: c = epilogue(op(a) op(b)), each element ((p0 + p1) + p2) + ..., p_i a sum from +0 over 256 consecutive k.
// Of 16-bit floats tensor cores take it (matmul_sm80.h). Of float32 it is one FMA chain, as in matmul_ref.cpp: a block
// computes 64 x 64 elements from strips of 16 k in shared memory, a thread 4 x 4 of them. Tile, batch and m change no
// bits.
#include "pyformer/ops/matmul/matmul_sm80.h"

namespace pyformer::cuda {

constexpr int kTile = 64, kDepth = 16, kOwn = 4;  // a thread's rows and columns are kTile / kOwn apart

struct TileShared {
  float a[kDepth][kTile + 1], b[kDepth][kTile + 1];  // + 1: columns that are written lie in different banks
};

// Elements [first, first + kTile) x [start, start + kDepth) of the vectors, as [k][vector]. What is outside stays as it
// is, and is not used.
template <class T>
DEVICE void load_strip(const Vectors& v, int64_t first, int64_t start, int64_t k, float (&strip)[kDepth][kTile + 1]) {
  const bool along_k = v.k_stride == 1;  // neighbouring threads read neighbouring elements
  for (int e = int(threadIdx.x); e < kTile * kDepth; e += kThreads) {
    const int p = along_k ? e % kDepth : e / kTile, i = along_k ? e / kDepth : e % kTile;
    if (first + i < v.count && start + p < k)
      strip[p][i] = in<T>(v.data)[(first + i) * v.stride + (start + p) * v.k_stride];
  }
}

// use(row, col, sum) for each of this thread's elements that is in c.
template <class Use>
DEVICE void each_own(const Gemm& g, Tile tile, float (&sum)[kOwn][kOwn], const Use& use) {
  constexpr int kStep = kTile / kOwn;
  for (int i = 0; i < kOwn; ++i)
    for (int j = 0; j < kOwn; ++j) {
      const int64_t row = tile.row + int(threadIdx.x) / kStep + i * kStep;
      const int64_t col = tile.col + int(threadIdx.x) % kStep + j * kStep;
      if (row < g.m && col < g.n) use(row, col, sum[i][j]);
    }
}

template <class T>
__global__ void __launch_bounds__(kThreads) multiply(const Gemm g) {
  constexpr int kStep = kTile / kOwn;
  TileShared& s = shared_memory<TileShared>();
  const Tile tile = tile_of(g, kTile);
  const int own_row = int(threadIdx.x) / kStep, own_col = int(threadIdx.x) % kStep;
  const Vectors a = rows_of<T>(g, tile.batch), b = cols_of<T>(g, tile.batch);
  float sum[kOwn][kOwn] = {}, chain[kOwn][kOwn] = {};
  if (g.continue_sum)
    each_own(g, tile, sum, [&](int64_t row, int64_t col, float& value) { value = in<T>(g.c)[tile.at(g, row, col)]; });
  bool is_first = !g.continue_sum;
  for (int64_t start = 0; start == 0 || start < g.k; start += kDepth) {
    load_strip<T>(a, tile.row, start, g.k, s.a);
    load_strip<T>(b, tile.col, start, g.k, s.b);
    __syncthreads();
    const int depth = g.k - start < kDepth ? int(g.k - start) : kDepth;
    for (int p = 0; p < depth; ++p) {
      float x[kOwn], y[kOwn];
#pragma unroll
      for (int i = 0; i < kOwn; ++i) x[i] = s.a[p][own_row + i * kStep], y[i] = s.b[p][own_col + i * kStep];
#pragma unroll
      for (int i = 0; i < kOwn; ++i)
#pragma unroll
        for (int j = 0; j < kOwn; ++j) chain[i][j] = fma(x[i], y[j], chain[i][j]);
    }
    __syncthreads();
    if ((start + kDepth) % kChainLength && start + kDepth < g.k) continue;
#pragma unroll
    for (int i = 0; i < kOwn; ++i)
#pragma unroll
      for (int j = 0; j < kOwn; ++j) {
        sum[i][j] = is_first ? chain[i][j] : sum[i][j] + chain[i][j];
        chain[i][j] = 0;
      }
    is_first = false;
  }
  with_activation(g.epilogue.activation, [&]<class F>() {
    each_own(g, tile, sum,
             [&](int64_t row, int64_t col, float value) { store_finished<F, T>(g, tile.at(g, row, col), col, value); });
  });
}

template <class T>
static void start_multiply(const Gemm& g) {
  if constexpr (sizeof(T) == 2) {
    const auto kernel = g.wide_c ? multiply_sm80<T, float> : multiply_sm80<T, T>;
    start(kernel, tiles_of(g, Sm80::kTile), Sm80::kThreads, sizeof(Sm80::Shared<T>), g);
  } else {
    start(multiply<T>, tiles_of(g, kTile), kThreads, sizeof(TileShared), g);
  }
}

static int64_t no_panels(int64_t, int64_t) { return 0; }

template <>
const GemmTable& cuda_table<GemmTable>() {
  static constexpr GemmTable table = {
      .multiply = for_cuda_floats<Program<Gemm>>([]<class T>() -> Program<Gemm> { return start_multiply<T>; }),
      .panel_bytes = for_cuda_floats<PanelBytes>([]<class T>() -> PanelBytes { return no_panels; }),
      .pack =
          for_cuda_floats<Program<GemmPack>>([]<class T>() -> Program<GemmPack> { return [](const GemmPack&) {}; })};
  return table;
}

}  // namespace pyformer::cuda
