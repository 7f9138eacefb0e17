// What pool's kernels see.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

// Work item of all: one plane.
struct PoolWindow {
  int64_t height, width, rows, cols;  // of a plane of x, of out
  int64_t kernel_y, kernel_x, stride_y, stride_x, padding_y, padding_x;
};

struct MaxPool {
  PoolWindow window;
  const void* x;
  void* out;
  int32_t* tap;  // as out: which element of its window won
};
struct MaxPoolGradient {
  PoolWindow window;
  const void* dout;
  const int32_t* tap;
  void* dx;
};
struct AvgPool {
  PoolWindow window;
  const void* x;
  void* out;
};
struct AvgPoolGradient {
  PoolWindow window;
  const void* dout;
  void* dx;
};

struct PoolKernels {  // each indexed [float32, float64]
  Kernel<MaxPool> max[2];
  Kernel<MaxPoolGradient> max_gradient[2];
  Kernel<AvgPool> avg[2];
  Kernel<AvgPoolGradient> avg_gradient[2];
};
template <Isa>
const PoolKernels& pool_kernels();  // specialised in pool_ref.cpp and, per set, pool_cpu.cpp

}  // namespace pyformer
