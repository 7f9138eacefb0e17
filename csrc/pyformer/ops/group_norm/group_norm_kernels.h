// What group_norm's and batch_norm's kernels see: planes of consecutive elements that share a mean and a variance.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

// Work item: one plane. Plane p's weight and bias stand at p * parameter_stride. What a kernel doesn't use is null.
struct NormPlanes {
  int64_t size, stride, parameter_stride;
  const void* x;
  const void* mean;  // one number, as rstd
  const void* rstd;
  const void* weight;  // null: ones
  const void* bias;    // null: zeros
  void* out;           // planes as x's
  const void* dout;    // planes as x's
  void* sum;           // (planes,)
  void* sum_product;   // (planes,)
  const void* mean_g;  // one number, as mean_gx; null: mean and rstd are constants
  const void* mean_gx;
  void* dx;  // planes as x's
};

struct NormPlanesKernels {         // each indexed [float32, float64]
  Kernel<NormPlanes> sums[2];      // sum = sum x
  Kernel<NormPlanes> squares[2];   // sum = sum (x - mean)^2
  Kernel<NormPlanes> apply[2];     // out
  Kernel<NormPlanes> products[2];  // sum = sum dout, sum_product = sum dout * (x - mean) * rstd
  Kernel<NormPlanes> gradient[2];  // dx
};
template <Isa>
const NormPlanesKernels& norm_planes_kernels();  // specialised in group_norm_ref.cpp and, per set, group_norm_cpu.cpp

}  // namespace pyformer
