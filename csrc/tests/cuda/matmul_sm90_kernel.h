// c (m, n) = a (m, k) b^T (n, k), all 16-bit: a producer warp fills a ring by bulk tensor copies, a warpgroup
// multiplies by wgmma, and the tile leaves through shared memory by stmatrix and a bulk tensor store. A block makes 64
// x 64, k in steps of 64 (one swizzled line of 128 bytes). A kernel to test the emulator with.
#pragma once
#include "pyformer/cuda/launch.h"
#include "pyformer/cuda/wgmma.h"
#include "tests/cuda/plant.h"

namespace pyformer::cuda {

struct MatmulSm90Test {
  TensorMap a, b, c;  // boxes of 64 rows by 64 columns
  int k;
};

struct MatmulSm90Shared {
  static constexpr int kTile = 64, kDepth = 64, kStages = 3, kConsumers = 128, kThreads = 256;
  alignas(1024) uint16_t a[kStages][kTile * kDepth], b[kStages][kTile * kDepth], c[kTile * kTile];
  Mbarrier full[kStages], empty[kStages];
};

template <Plant plant>
DEVICE void produce(const MatmulSm90Test& p, MatmulSm90Shared& s, int row, int column, int steps) {
  using S = MatmulSm90Shared;
  for (int step = 0; step < steps; ++step) {
    const int slot = step % S::kStages, turn = step / S::kStages;
    if (plant != Plant::no_empty_wait) mbarrier_wait(&s.empty[slot], (turn & 1) ^ 1);
    mbarrier_arrive_expect(&s.full[slot], 2 * S::kTile * S::kDepth * 2);
    load_box(s.a[slot], &p.a, &s.full[slot], step * S::kDepth, row);
    load_box(s.b[slot], &p.b, &s.full[slot], step * S::kDepth, column);
  }
}

template <class T, Plant plant>
DEVICE void consume(MatmulSm90Shared& s, float (&d)[32], int steps) {
  using S = MatmulSm90Shared;
  for (int step = 0; step < steps; ++step) {
    const int slot = step % S::kStages, turn = step / S::kStages;
    mbarrier_wait(&s.full[slot], plant == Plant::wrong_parity ? (turn & 1) ^ 1 : turn & 1);
    if (plant != Plant::no_wgmma_fence) wgmma_fence();
    const uint64_t a = k_major_descriptor(s.a[slot]), b = k_major_descriptor(s.b[slot]);
#pragma unroll
    for (int kk = 0; kk < S::kDepth / 16; ++kk) wgmma<T>(d, advanced(a, 32 * kk), advanced(b, 32 * kk), step + kk > 0);
    wgmma_commit();
    if (plant != Plant::no_wgmma_wait) wgmma_wait<0>(d);
    mbarrier_arrive(&s.empty[slot]);
  }
  wgmma_wait<0>(d);
}

// d to c's tile in shared memory, swizzled as the bulk store reads it.
template <class T>
DEVICE void stage(MatmulSm90Shared& s, const float (&d)[32]) {
  const int lane = int(threadIdx.x) % 32, row = int(threadIdx.x) / 32 * 16 + lane % 16;
#pragma unroll
  for (int i = 0; i < 4; ++i) {  // 16 columns
    const uint32_t tiles[4] = {packed<T>(d[8 * i], d[8 * i + 1]), packed<T>(d[8 * i + 2], d[8 * i + 3]),
                               packed<T>(d[8 * i + 4], d[8 * i + 5]), packed<T>(d[8 * i + 6], d[8 * i + 7])};
    const int chunk = 2 * i + lane / 16;
    stmatrix<false>(s.c + row * 64 + (chunk ^ row % 8) * 8, tiles);
  }
}

template <class T, Plant plant>
__global__ void __launch_bounds__(MatmulSm90Shared::kThreads, 1)
    matmul_sm90_test(const __grid_constant__ MatmulSm90Test p) {
  using S = MatmulSm90Shared;
  S& s = shared_memory<S>();
  const int row = int(blockIdx.y) * S::kTile, column = int(blockIdx.x) * S::kTile;
  const int steps = (p.k + S::kDepth - 1) / S::kDepth;
  if (threadIdx.x == S::kConsumers) {
    for (int i = 0; i < S::kStages; ++i) mbarrier_init(&s.full[i], 1), mbarrier_init(&s.empty[i], S::kConsumers);
    if (plant != Plant::no_mbarrier_fence) fence_mbarrier_init();
  }
  __syncthreads();
  if (threadIdx.x >= S::kConsumers) {
    setmaxnreg_decrease<40>();
    if (threadIdx.x == S::kConsumers) produce<plant>(p, s, row, column, steps);
    return;
  }
  setmaxnreg_increase<232>();
  float d[32];
  consume<T, plant>(s, d, steps);
  stage<T>(s, d);
  if (plant != Plant::no_proxy_fence) fence_proxy_async();
  if (plant != Plant::no_barrier) bar_sync(1, S::kConsumers);
  if (threadIdx.x == 0) {
    store_box(&p.c, s.c, column, row);
    bulk_commit();
    if (plant != Plant::no_store_wait) bulk_wait_read<0>();
  }
}

}  // namespace pyformer::cuda
