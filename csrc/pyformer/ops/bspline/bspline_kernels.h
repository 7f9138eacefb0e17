// What bspline's kernels see. Work item: one element of x.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

constexpr int64_t kMaxSplineOrder = 8;

struct BsplineForward {
  int64_t intervals, order;
  double low, per_width;  // per_width = intervals / (high - low)
  const void* x;
  void* out;
};
struct BsplineBackward {
  int64_t intervals, order;
  double low, per_width;
  const void* dout;
  const void* x;
  void* dx;
};

struct BsplineKernels {  // each indexed [float32, float64]
  Kernel<BsplineForward> forward[2];
  Kernel<BsplineBackward> backward[2];
};
template <Isa>
const BsplineKernels& bspline_kernels();  // specialised in bspline_ref.cpp and, per set, bspline_cpu.cpp

}  // namespace pyformer
