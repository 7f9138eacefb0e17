// Kernels that do one PTX instruction each on what they are given, for tests on the emulator and on a GPU.
#pragma once
#include "pyformer/cuda/launch.h"
#include "pyformer/cuda/wgmma.h"
#include "tests/cuda/plant.h"

namespace pyformer::cuda {

// ---- a warp --------------------------------------------------------------------------------------------------------

struct MmaTest {
  const uint32_t *a, *b;  // [lane][register]
  float* d;
};

template <class T>
__global__ void mma_test(const MmaTest p) {
  const unsigned lane = threadIdx.x;
  uint32_t a[4], b[2];
  float d[4];
  for (int i = 0; i < 4; ++i) a[i] = p.a[lane * 4 + i], d[i] = p.d[lane * 4 + i];
  for (int i = 0; i < 2; ++i) b[i] = p.b[lane * 2 + i];
  mma_m16n8k16<T>(d, a, b);
  for (int i = 0; i < 4; ++i) p.d[lane * 4 + i] = d[i];
}

template <int = 0>
__global__ void mma_tf32_test(const MmaTest p) {
  const unsigned lane = threadIdx.x;
  float a[4], b[2], d[4];
  for (int i = 0; i < 4; ++i) a[i] = __uint_as_float(p.a[lane * 4 + i]), d[i] = p.d[lane * 4 + i];
  for (int i = 0; i < 2; ++i) b[i] = __uint_as_float(p.b[lane * 2 + i]);
  mma_m16n8k8_tf32(d, a, b);
  for (int i = 0; i < 4; ++i) p.d[lane * 4 + i] = d[i];
}

// Rows of eight 16-bit elements; row r of all matrices stands at place[r].
struct MatrixTest {
  const int* place;  // [32]
  const uint16_t* in;
  uint32_t* registers;  // [lane][matrix]
  uint16_t* out;
};
struct MatrixShared {
  uint16_t rows[32][8];
};

// in -> shared -> ldmatrix -> registers -> stmatrix -> out.
template <bool transposed, int count>
__global__ void matrix_test(const MatrixTest p) {
  MatrixShared& s = shared_memory<MatrixShared>();
  const unsigned lane = threadIdx.x;
  for (int c = 0; c < 8; ++c) s.rows[p.place[lane]][c] = p.in[lane * 8 + c];
  __syncthreads();
  uint32_t d[count];
  ldmatrix<transposed>(d, s.rows[p.place[lane]]);
  for (int i = 0; i < count; ++i) p.registers[lane * count + i] = d[i];
  __syncthreads();
  for (int c = 0; c < 8; ++c) s.rows[lane][c] = 0;
  __syncthreads();
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  stmatrix<transposed>(s.rows[p.place[lane]], d);
#endif
  __syncthreads();
  for (int c = 0; c < 8; ++c) p.out[lane * 8 + c] = s.rows[p.place[lane]][c];
}

struct LanesTest {
  int* out;  // [lane][8]
};

template <int = 0>
__global__ void lanes_test(const LanesTest p) {
  const int lane = int(threadIdx.x);
  int* out = p.out + lane * 8;
  out[0] = __shfl_sync(~0u, lane, 5);
  out[1] = __shfl_up_sync(~0u, lane, 3);
  out[2] = __shfl_down_sync(~0u, lane, 3, 16);
  out[3] = __shfl_xor_sync(~0u, lane, 9);
  out[4] = int(__ballot_sync(~0u, lane % 3 == 0));
  out[5] = __any_sync(~0u, lane == 31) + 2 * __all_sync(~0u, lane < 32) + 4 * __all_sync(~0u, lane < 31);
  const uint32_t mine = lane % 2 ? 0xaaaaaaaau : 0x55555555u;  // two collectives at once
  out[6] = __shfl_sync(mine, lane, lane % 2);
  __syncwarp();
  out[7] = int(__float_as_uint(widened(rounded<BFloat16>(__uint_as_float(0x3f808000u + uint32_t(lane) * 0x8000u)))));
}

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

// ---- a warpgroup ---------------------------------------------------------------------------------------------------

struct Operand {
  const uint16_t* image;  // of shared memory, kBytes
  uint32_t leading, stride;
  Swizzle swizzle;
};
struct WgmmaTest {
  Operand a, b;
  const uint32_t* a_registers;  // [thread][4]
  float* d;                     // [thread][n / 2]
};
struct WgmmaShared {
  static constexpr int kBytes = 32768;
  alignas(1024) uint16_t a[kBytes / 2], b[kBytes / 2];
};

template <class T, int n, bool a_in_registers, Major a_major, Major b_major>
__global__ void __launch_bounds__(128, 1) wgmma_test(const WgmmaTest p) {
  WgmmaShared& s = shared_memory<WgmmaShared>();
  const int thread = int(threadIdx.x);
  for (int i = thread; i < WgmmaShared::kBytes / 2; i += 128) s.a[i] = p.a.image[i], s.b[i] = p.b.image[i];
  fence_proxy_async();
  __syncthreads();
  float d[n / 2];
  uint32_t a[4];
  for (int i = 0; i < n / 2; ++i) d[i] = p.d[thread * (n / 2) + i];
  for (int i = 0; i < 4; ++i) a[i] = p.a_registers[thread * 4 + i];
  const uint64_t a_matrix = matrix_descriptor(s.a, p.a.leading, p.a.stride, p.a.swizzle);
  const uint64_t b_matrix = matrix_descriptor(s.b, p.b.leading, p.b.stride, p.b.swizzle);
  wgmma_fence();
  if constexpr (a_in_registers)
    wgmma<T, b_major>(d, a, b_matrix, true);
  else
    wgmma<T, a_major, b_major>(d, a_matrix, b_matrix, true);
  wgmma_commit();
  wgmma_wait<0>(d);
  for (int i = 0; i < n / 2; ++i) p.d[thread * (n / 2) + i] = d[i];
}

// Touches registers of a product that is under way.
template <Plant plant>
__global__ void __launch_bounds__(128, 1) wgmma_registers_test(float* const out) {
  WgmmaShared& s = shared_memory<WgmmaShared>();
  s.b[threadIdx.x] = 0;
  fence_proxy_async();
  __syncthreads();
  float d[4] = {};
  uint32_t a[4] = {};
  wgmma_fence();
  wgmma<BFloat16>(d, a, matrix_descriptor(s.b, 128, 256, Swizzle::none), true);
  wgmma_commit();
  if (plant == Plant::early_read) out[threadIdx.x] = d[0];
  if (plant == Plant::early_write) a[0] = 1;
  wgmma_wait<0>(d);
  out[threadIdx.x] = d[0] + float(a[0]);
}

// ---- bulk copies ---------------------------------------------------------------------------------------------------

struct BoxTest {
  TensorMap from, to;
  int at[3];
  uint32_t bytes;
  uint16_t* image;  // of shared memory, after the load
};
struct BoxShared {
  alignas(1024) uint16_t box[4096];
  Mbarrier full;
};

// A box of `from` to shared memory, and from there to the same place of `to`.
template <int rank>
__global__ void box_test(const __grid_constant__ BoxTest p) {
  BoxShared& s = shared_memory<BoxShared>();
  if (threadIdx.x == 0) {
    mbarrier_init(&s.full, 1);
    fence_mbarrier_init();
    mbarrier_arrive_expect(&s.full, p.bytes);
    prefetch(&p.from);
    if constexpr (rank == 2)
      load_box(s.box, &p.from, &s.full, p.at[0], p.at[1]);
    else
      load_box(s.box, &p.from, &s.full, p.at[0], p.at[1], p.at[2]);
  }
  __syncthreads();
  mbarrier_wait(&s.full, 0);
  for (unsigned i = threadIdx.x; i < p.bytes / 2; i += blockDim.x) p.image[i] = s.box[i];
  if (threadIdx.x == 0) {
    if constexpr (rank == 2)
      store_box(&p.to, s.box, p.at[0], p.at[1]);
    else
      store_box(&p.to, s.box, p.at[0], p.at[1], p.at[2]);
    bulk_commit();
    bulk_wait<0>();
  }
}

struct BulkTest {
  const uint16_t* in;
  uint16_t* out;
  uint32_t bytes;
};

template <int = 0>
__global__ void bulk_test(const BulkTest p) {
  BoxShared& s = shared_memory<BoxShared>();
  if (threadIdx.x != 0) return;
  mbarrier_init(&s.full, 1);
  fence_mbarrier_init();
  mbarrier_arrive_expect(&s.full, p.bytes);
  load_bulk(s.box, p.in, p.bytes, &s.full);
  mbarrier_wait(&s.full, 0);
  store_bulk(p.out, s.box, p.bytes);
  bulk_commit();
  bulk_wait<0>();
}

#endif

}  // namespace pyformer::cuda
