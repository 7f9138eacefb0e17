// What softmax's kernels see. An array is (outer, cols, inner); work item: one of its outer * inner rows of cols
// elements, which lie inner apart.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

// Columns that are done together where inner > 1.
constexpr int64_t kSoftmaxStrip = 64;

struct SoftmaxForward {
  int64_t cols, inner;
  const void* x;
  void* out;
  bool nontemporal;   // out goes past the caches
  void* scratch;  // where out is nontemporal, for exp: (cols, kSoftmaxStrip), or (cols,) where inner = 1 and cols > 4,096
};

struct SoftmaxBackward {
  int64_t cols, inner;
  const void* dout;
  const void* out;
  void* dx;
  bool nontemporal;  // dx goes past the caches
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
