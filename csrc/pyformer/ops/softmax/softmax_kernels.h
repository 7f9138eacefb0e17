// What softmax's kernels see. Work item: one row.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

struct SoftmaxForward {
  int64_t cols;
  const void* x;  // (rows, cols)
  void* out;      // (rows, cols)
};

struct SoftmaxBackward {
  int64_t cols;
  const void* dout;  // (rows, cols)
  const void* out;   // (rows, cols)
  void* dx;          // (rows, cols)
};

struct SoftmaxKernels {  // each indexed [float32, float64]
  Kernel<SoftmaxForward> softmax_forward[2];
  Kernel<SoftmaxBackward> softmax_backward[2];
  Kernel<SoftmaxForward> log_softmax_forward[2];
  Kernel<SoftmaxBackward> log_softmax_backward[2];
};
template <Isa>
const SoftmaxKernels& softmax_kernels();  // specialised in softmax_ref.cpp and, per set, softmax_cpu.cpp

}  // namespace pyformer
