// c (m, n) = a (m, k) b^T (n, k), 16-bit in, float out: cp.async in three stages, ldmatrix, mma.sync. A block makes 64
// x 64 with four warps of 32 x 32, k in steps of 32; k is a multiple of 8. A kernel to test the emulator with.
#pragma once
#include "pyformer/cuda/launch.h"
#include "pyformer/cuda/ptx.h"
#include "tests/cuda/plant.h"

namespace pyformer::cuda {

struct MatmulSm80Test {
  int m, n, k;
  const uint16_t *a, *b;
  float* c;
};

struct MatmulSm80Shared {
  static constexpr int kTile = 64, kDepth = 32, kStages = 3, kThreads = 128;
  uint16_t a[kStages][kTile * kDepth], b[kStages][kTile * kDepth];
};

// Rows of 64 bytes in 16-byte chunks; chunk c of row r lies where eight rows fall into eight bank groups.
template <Plant plant>
DEVICE int place(int row, int chunk) {
  const int swizzled = plant == Plant::bank_conflict ? chunk : chunk ^ (row >> 1 & 3);
  return row * MatmulSm80Shared::kDepth + swizzled * 8;
}

template <Plant plant>
DEVICE void load_tile(uint16_t* shared, const uint16_t* from, int first, int count, int k, int at) {
  using S = MatmulSm80Shared;
  for (int i = int(threadIdx.x); i < S::kTile * S::kDepth / 8; i += S::kThreads) {
    const int row = i / (S::kDepth / 8), chunk = i % (S::kDepth / 8);
    const bool inside = first + row < count && at + chunk * 8 < k;
    const uint16_t* source = inside ? from + int64_t(first + row) * k + at + chunk * 8 : from;
    cp_async(shared + place<plant>(row, chunk), source, inside ? 16 : 0);
  }
}

// A warp's 32 x 32 of d, for one stage.
template <class T, Plant plant>
DEVICE void multiply(float (&d)[2][4][4], const uint16_t* a, const uint16_t* b, int row, int column) {
  const int lane = int(threadIdx.x) % 32;
#pragma unroll
  for (int kk = 0; kk < MatmulSm80Shared::kDepth / 16; ++kk) {
    uint32_t fa[2][4], fb[2][4];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      ldmatrix<false>(fa[i], a + place<plant>(row + 16 * i + lane % 16, kk * 2 + lane / 16));
      ldmatrix<false>(fb[i], b + place<plant>(column + 16 * i + lane % 8 + lane / 16 * 8, kk * 2 + lane / 8 % 2));
    }
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const uint32_t half[2] = {fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]};
        mma_m16n8k16<T>(d[i][j], fa[i], half);
      }
  }
}

template <class T, Plant plant>
__global__ void __launch_bounds__(MatmulSm80Shared::kThreads) matmul_sm80_test(const MatmulSm80Test p) {
  using S = MatmulSm80Shared;
  S& s = shared_memory<S>();
  const int lane = int(threadIdx.x) % 32, warp = int(threadIdx.x) / 32;
  const int row0 = int(blockIdx.y) * S::kTile, column0 = int(blockIdx.x) * S::kTile;
  const int warp_row = warp / 2 * 32, warp_column = warp % 2 * 32;
  const int steps = (p.k + S::kDepth - 1) / S::kDepth;
  const auto load_stage = [&](int step) {
    if (step < steps) {
      load_tile<plant>(s.a[step % S::kStages], p.a, row0, p.m, p.k, step * S::kDepth);
      load_tile<plant>(s.b[step % S::kStages], p.b, column0, p.n, p.k, step * S::kDepth);
    }
    cp_async_commit();
  };
  for (int step = 0; step < S::kStages - 1; ++step) load_stage(step);
  float d[2][4][4];
  if (plant != Plant::unset_accumulator)
    for (auto& rows : d)
      for (auto& tile : rows)
        for (float& value : tile) value = 0;
  for (int step = 0; step < steps; ++step) {
    cp_async_wait<plant == Plant::no_copy_wait ? S::kStages - 1 : S::kStages - 2>();
    if (plant != Plant::no_barrier) __syncthreads();
    load_stage(step + S::kStages - 1);
    multiply<T, plant>(d, s.a[step % S::kStages], s.b[step % S::kStages], warp_row, warp_column);
  }
  cp_async_wait<0>();
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j)
#pragma unroll
      for (int h = 0; h < 4; ++h) {
        const int row = row0 + warp_row + 16 * i + lane / 4 + h / 2 * 8;
        const int column = column0 + warp_column + 8 * j + lane % 4 * 2 + h % 2;
        if (row < p.m && column < p.n) p.c[int64_t(row) * p.n + column] = d[i][j][h];
      }
}

}  // namespace pyformer::cuda
