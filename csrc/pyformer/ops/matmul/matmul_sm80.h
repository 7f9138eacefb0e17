// Products of 16-bit floats on tensor cores, for sm_80 and later: a block of 4 warps computes 64 x 64 elements, a warp
// 32 x 32, from strips of 32 k that cp.async brings through a ring in shared memory. An element is ((p0 + p1) + p2) +
// ..., p_i what mma.m16n8k16 adds up over 256 consecutive k, from +0: tile, batch and m change no bits.
#pragma once
#include "pyformer/cuda/kernel.h"
#include "pyformer/cuda/ptx.h"
#include "pyformer/ops/matmul/matmul_tiles.h"

namespace pyformer::cuda {

struct Sm80 {
  static constexpr int kTile = 64, kDepth = 32, kStages = 3, kThreads = 128, kChunk = 8;  // a chunk is 16 bytes

  template <class T>
  struct Shared {
    T a[kStages][kTile * kDepth], b[kStages][kTile * kDepth];
  };

  // Vectors have 4 chunks of a strip; chunk c of vector i lies where 8 vectors fall into 8 groups of banks.
  static DEVICE int place(int i, int chunk) { return i * kDepth + (chunk ^ (i >> 1 & 3)) * kChunk; }

  // Vectors [first, first + kTile), elements [start, start + kDepth) of each; zeros outside.
  template <class T>
  static DEVICE void load(const Vectors& v, int64_t first, int64_t start, int64_t k, T* strip) {
    const T* data = static_cast<const T*>(v.data);
    if (v.chunks_are_aligned) {
      for (int e = int(threadIdx.x); e < kTile * kDepth / kChunk; e += kThreads) {
        const int i = e / (kDepth / kChunk), chunk = e % (kDepth / kChunk);
        const int64_t at = start + chunk * kChunk, left = first + i < v.count ? k - at : 0;
        const int valid = left <= 0 ? 0 : left < kChunk ? int(left) : kChunk;
        cp_async(strip + place(i, chunk), valid ? data + (first + i) * v.stride + at : data, valid * int(sizeof(T)));
      }
      return;
    }
    const bool along_k = v.k_stride == 1;  // neighbouring threads read neighbouring elements
    for (int e = int(threadIdx.x); e < kTile * kDepth; e += kThreads) {
      const int p = along_k ? e % kDepth : e / kTile, i = along_k ? e / kDepth : e % kTile;
      const bool inside = first + i < v.count && start + p < k;
      const int64_t at = (first + i) * v.stride + (start + p) * v.k_stride;
      strip[place(i, p / kChunk) + p % kChunk] = inside ? data[at] : T{};
    }
  }

  // sum += chain and chain = 0, or sum = chain where there was none.
  static DEVICE void end_chain(float (&sum)[2][4][4], float (&chain)[2][4][4], bool is_first) {
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int h = 0; h < 4; ++h) {
          sum[i][j][h] = is_first ? chain[i][j][h] : sum[i][j][h] + chain[i][j][h];
          chain[i][j][h] = 0;
        }
  }

  // use(row, col, sum) for each of this thread's elements that is in c.
  template <class Use>
  static DEVICE void each(const Gemm& g, Tile tile, float (&sum)[2][4][4], const Use& use) {
    const int lane = int(threadIdx.x) % 32, warp = int(threadIdx.x) / 32;
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int h = 0; h < 4; ++h) {
          const int64_t row = tile.row + warp / 2 * 32 + 16 * i + lane / 4 + h / 2 * 8;
          const int64_t col = tile.col + warp % 2 * 32 + 8 * j + lane % 4 * 2 + h % 2;
          if (row < g.m && col < g.n) use(row, col, sum[i][j][h]);
        }
  }

  // One strip: each warp's 32 x 32.
  template <class T>
  static DEVICE void multiply(const T* a, const T* b, float (&chain)[2][4][4]) {
    const int lane = int(threadIdx.x) % 32, warp = int(threadIdx.x) / 32;
    const int first_row = warp / 2 * 32, first_col = warp % 2 * 32;
#pragma unroll
    for (int step = 0; step < kDepth / 16; ++step) {
      uint32_t x[2][4], y[2][4];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        ldmatrix<false>(x[i], a + place(first_row + 16 * i + lane % 16, step * 2 + lane / 16));
        ldmatrix<false>(y[i], b + place(first_col + 16 * i + lane % 8 + lane / 16 * 8, step * 2 + lane / 8 % 2));
      }
#pragma unroll
      for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const uint32_t half[2] = {y[j / 2][j % 2 * 2], y[j / 2][j % 2 * 2 + 1]};
          mma_m16n8k16<T>(chain[i][j], x[i], half);
        }
    }
  }
};

template <class T, class C>
__global__ void __launch_bounds__(Sm80::kThreads) multiply_sm80(const Gemm g) {
  constexpr int kStages = Sm80::kStages, kDepth = Sm80::kDepth;
  auto& s = shared_memory<Sm80::Shared<T>>();
  const Tile tile = tile_of(g, Sm80::kTile, Sm80::kTile);
  const Vectors a = rows_of<T>(g, tile.batch), b = cols_of<T>(g, tile.batch);
  const int64_t steps = ceil_div(g.k, kDepth);
  const auto load = [&](int64_t step) {
    if (step < steps) {
      Sm80::load(a, tile.row, step * kDepth, g.k, s.a[step % kStages]);
      Sm80::load(b, tile.col, step * kDepth, g.k, s.b[step % kStages]);
    }
    cp_async_commit();
  };
  for (int64_t step = 0; step < kStages - 1; ++step) load(step);
  float sum[2][4][4] = {}, chain[2][4][4] = {};
  if (g.continue_sum)
    Sm80::each(g, tile, sum, [&](int64_t row, int64_t col, float& value) { value = in<C>(g.c)[tile.at(g, row, col)]; });
  bool is_first = !g.continue_sum;
  for (int64_t step = 0; step < steps; ++step) {
    cp_async_wait<kStages - 2>();
    __syncthreads();
    load(step + kStages - 1);
    Sm80::multiply(s.a[step % kStages], s.b[step % kStages], chain);
    if ((step + 1) * kDepth % kChainLength && step + 1 < steps) continue;
    Sm80::end_chain(sum, chain, is_first);
    is_first = false;
  }
  cp_async_wait<0>();
  with_activation(g.epilogue.activation, [&]<class F>() {
    Sm80::each(g, tile, sum, [&](int64_t row, int64_t col, float value) {
      store_finished<F, C>(g, tile.at(g, row, col), col, value);
    });
  });
}

}  // namespace pyformer::cuda
