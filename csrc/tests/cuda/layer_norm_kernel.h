// layer_norm, a block a row: shared memory, shuffles, barriers, vector loads. A kernel to test the emulator with.
#pragma once
#include "pyformer/cuda/launch.h"
#include "tests/cuda/plant.h"

namespace pyformer::cuda {

struct LayerNormTest {
  int cols;  // a multiple of 4
  float eps;
  const float *x, *weight, *bias;
  float* out;
};

struct LayerNormShared {
  static constexpr int kThreads = 128;
  float partial[kThreads / 32];
};

// The same order of sums whatever the batch: lanes by a butterfly, warps in index order.
template <Plant plant>
DEVICE float block_sum(float value, LayerNormShared& s) {
#pragma unroll
  for (int step = 16; step; step /= 2) value += __shfl_xor_sync(~0u, value, step);
  const unsigned place = threadIdx.x / 32 + (plant == Plant::out_of_bounds ? 1 : 0);
  if (threadIdx.x % 32 == 0) s.partial[place] = value;
  __syncthreads();
  float sum = 0;
#pragma unroll
  for (int w = 0; w < LayerNormShared::kThreads / 32; ++w) sum += s.partial[w];
  if (plant != Plant::no_barrier) __syncthreads();  // before partial is written again
  return sum;
}

template <Plant plant>
__global__ void __launch_bounds__(LayerNormShared::kThreads) layer_norm_test(const LayerNormTest a) {
  LayerNormShared& s = shared_memory<LayerNormShared>();
  const float* x = a.x + int64_t(blockIdx.x) * a.cols;
  float* out = a.out + int64_t(blockIdx.x) * a.cols;
  const int first = int(threadIdx.x) * 4, stride = LayerNormShared::kThreads * 4;
  float sum = 0;
  for (int c = first; c < a.cols; c += stride) {
    const auto v = load<4>(x + c);
    sum += (v[0] + v[1]) + (v[2] + v[3]);
  }
  const float mean = block_sum<plant>(sum, s) / float(a.cols);
  float square = 0;
  for (int c = first; c < a.cols; c += stride) {
    const auto v = load<4>(x + c);
    for (int i = 0; i < 4; ++i) square += (v[i] - mean) * (v[i] - mean);
  }
  const float rstd = 1 / sqrtf(block_sum<plant>(square, s) / float(a.cols) + a.eps);
  for (int c = first; c < a.cols; c += stride) {
    const auto v = load<4>(x + c), w = load<4>(a.weight + c), b = load<4>(a.bias + c);
    Packed<float, 4> y;
    for (int i = 0; i < 4; ++i) y[i] = (v[i] - mean) * rstd * w[i] + b[i];
    store(out + c, y);
  }
}

}  // namespace pyformer::cuda
