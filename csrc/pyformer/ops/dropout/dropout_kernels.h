// What dropout's kernels see. Work item: one element.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

struct DropoutForward {
  uint64_t seed, stream;
  uint32_t threshold;  // elements with a smaller word are dropped
  double scale;
  const void* x;
  void* out;
};

struct DropoutKernels {  // indexed [float32, float64]
  Kernel<DropoutForward> forward[2];
};
template <Isa>
const DropoutKernels& dropout_kernels();  // specialised in dropout_ref.cpp and, per set, dropout_cpu.cpp

}  // namespace pyformer
