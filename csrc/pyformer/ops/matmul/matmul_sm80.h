// Products of 16-bit floats on tensor cores, for sm_80 and later: a block of 4 warps computes 64 x 64 elements, a warp
// 32 x 32, from strips of 32 k that cp.async brings through a ring in shared memory. An element is ((p0 + p1) + p2) +
// ..., p_i what mma.m16n8k16 adds up over 256 consecutive k, from +0: tile, batch and m change no bits. A strip lies in
// shared memory as its operand does in memory, vectors one after the other or elements one after the other; the latter
// are transposed on the way to registers.
#pragma once
#include "pyformer/cuda/kernel.h"
#include "pyformer/cuda/ptx.h"
#include "pyformer/ops/matmul/matmul_tiles.h"

namespace pyformer::cuda {

struct Sm80 {
  static constexpr int kTile = 64, kDepth = 32, kStages = 3, kThreads = 128, kChunk = 8;  // a chunk is 16 bytes
  static constexpr int kPitch = 32 + 8;  // of a finished row: four rows of lanes lie in different banks

  template <class T>
  struct Strips {
    T a[kStages][kTile * kDepth], b[kStages][kTile * kDepth];
  };
  template <class T>
  struct Shared {
    union {
      Strips<T> strips;
      float finished[kThreads / 32][32 * kPitch];  // a warp's, after all strips
    };
  };

  // Of vectors along k, chunk c of vector i, 4 of each, and else chunk c of element p, 8 of each: they lie where 8
  // vectors or elements that follow each other fall into 8 groups of banks.
  static DEVICE int place(int i, int chunk) { return i * kDepth + (chunk ^ (i >> 1 & 3)) * kChunk; }
  static DEVICE int across(int p, int chunk) { return p * kTile + (chunk ^ (p & 7)) * kChunk; }

  // Vectors [first, first + kTile), elements [start, start + kDepth) of each; zeros outside.
  template <class T>
  static DEVICE void load(const Vectors& v, int64_t first, int64_t start, int64_t k, T* strip) {
    const T* data = static_cast<const T*>(v.data);
    if (v.chunks_are_aligned) {
      static_assert(kDepth == 4 * kChunk && kTile == 8 * kChunk);
      const int bits = v.along_k() ? 2 : 3;  // of a chunk's number in its line
      for (int e = int(threadIdx.x); e < kTile * kDepth / kChunk; e += kThreads) {
        const int line = e >> bits, chunk = e & ((1 << bits) - 1);
        const int64_t i = first + (v.along_k() ? line : chunk * kChunk),
                      p = start + (v.along_k() ? chunk * kChunk : line);
        const int64_t left = i >= v.count || p >= k ? 0 : v.along_k() ? k - p : v.count - i;
        const int valid = left < kChunk ? int(left) : kChunk;
        cp_async(strip + (v.along_k() ? place(line, chunk) : across(line, chunk)),
                 valid ? data + i * v.stride + p * v.k_stride : data, valid * int(sizeof(T)));
      }
      return;
    }
    // Neighbouring threads read neighbouring elements.
    for (int e = int(threadIdx.x); e < kTile * kDepth; e += kThreads) {
      const int p = v.along_k() ? e % kDepth : e / kTile, i = v.along_k() ? e / kDepth : e % kTile;
      const bool inside = first + i < v.count && start + p < k;
      const int64_t at = (first + i) * v.stride + (start + p) * v.k_stride;
      strip[v.along_k() ? place(i, p / kChunk) + p % kChunk : across(p, i / kChunk) + i % kChunk] =
          inside ? data[at] : T{};
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

  // sum = what c holds; it is float32.
  static DEVICE void load_sum(const Gemm& g, Tile tile, float (&sum)[2][4][4]) {
    const int lane = int(threadIdx.x) % 32, warp = int(threadIdx.x) / 32;
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int h = 0; h < 4; ++h) {
          const int64_t row = tile.row + warp / 2 * 32 + 16 * i + lane / 4 + h / 2 * 8;
          const int64_t col = tile.col + warp % 2 * 32 + 8 * j + lane % 4 * 2 + h % 2;
          if (row < g.m && col < g.n) sum[i][j][h] = static_cast<const float*>(g.c)[tile.at(g, row, col)];
        }
  }

  // The warp's 32 x 32, through shared memory, so that lanes next to each other have columns next to each other.
  template <class T>
  static DEVICE void finish(const Gemm& g, Tile tile, Shared<T>& s, const float (&sum)[2][4][4]) {
    const int lane = int(threadIdx.x) % 32, warp = int(threadIdx.x) / 32;
    const int64_t first_row = tile.row + warp / 2 * 32, col = tile.col + warp % 2 * 32 + lane;
    float* const own = s.finished[warp];
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int h = 0; h < 4; h += 2)
          store(own + (16 * i + lane / 4 + 4 * h) * kPitch + 8 * j + lane % 4 * 2,
                Packed<float, 2>{sum[i][j][h], sum[i][j][h + 1]});
    __syncwarp();
    with_activation(g.epilogue.activation, [&]<class F>() {
#pragma unroll 1
      for (int row = 0; row < 32; ++row) {
        if (first_row + row >= g.m || col >= g.n) continue;
        const int64_t at = tile.at(g, first_row + row, col);
        if (g.wide_c)
          store_finished<F, float>(g, at, col, own[row * kPitch + lane]);
        else
          store_finished<F, T>(g, at, col, own[row * kPitch + lane]);
      }
    });
  }

  // 16 vectors and 16 elements of a strip, in four matrices: the second has the next 8 vectors, or elements where
  // elements_first, and the third the other.
  template <bool along_k, bool elements_first, class T>
  static DEVICE void load_factor(uint32_t (&x)[4], const T* strip, int first, int step) {
    const int lane = int(threadIdx.x) % 32, second = lane / 8 % 2, third = lane / 16;
    const int i = elements_first ? third : second, p = elements_first ? second : third;  // which eight
    if constexpr (along_k)
      ldmatrix<false>(x, strip + place(first + 8 * i + lane % 8, step * 2 + p));
    else
      ldmatrix<true>(x, strip + across(step * 16 + 8 * p + lane % 8, first / kChunk + i));
  }

  // One strip: each warp's 32 x 32.
  template <bool a_along_k, bool b_along_k, class T>
  static DEVICE void multiply(const T* a, const T* b, float (&chain)[2][4][4]) {
    const int warp = int(threadIdx.x) / 32, first_row = warp / 2 * 32, first_col = warp % 2 * 32;
#pragma unroll
    for (int step = 0; step < kDepth / 16; ++step) {
      uint32_t x[2][4], y[2][4];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        load_factor<a_along_k, false>(x[i], a, first_row + 16 * i, step);
        load_factor<b_along_k, true>(y[i], b, first_col + 16 * i, step);
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

template <class T>
__global__ void __launch_bounds__(Sm80::kThreads) multiply_sm80(const Gemm g) {
  constexpr int kStages = Sm80::kStages, kDepth = Sm80::kDepth;
  auto& shared = shared_memory<Sm80::Shared<T>>();
  auto& s = shared.strips;
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
  const auto multiply = [&](const T* x, const T* y) {
    if (a.along_k())
      b.along_k() ? Sm80::multiply<true, true>(x, y, chain) : Sm80::multiply<true, false>(x, y, chain);
    else
      b.along_k() ? Sm80::multiply<false, true>(x, y, chain) : Sm80::multiply<false, false>(x, y, chain);
  };
  if (g.continue_sum) Sm80::load_sum(g, tile, sum);
  bool is_first = !g.continue_sum;
  for (int64_t step = 0; step < steps; ++step) {
    cp_async_wait<kStages - 2>();
    __syncthreads();
    load(step + kStages - 1);
    multiply(s.a[step % kStages], s.b[step % kStages]);
    if ((step + 1) * kDepth % kChainLength && step + 1 < steps) continue;
    Sm80::end_chain(sum, chain, is_first);
    is_first = false;
  }
  cp_async_wait<0>();
  __syncthreads();
  Sm80::finish(g, tile, shared, sum);
}

}  // namespace pyformer::cuda
