// What random's kernels see. Work item: one element.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

struct RandomFill {
  uint64_t seed, stream;
  void* out;
};

struct RandomKernels {  // each indexed [float32, float64]
  Kernel<RandomFill> uniform[2], normal[2];
};
template <Isa>
const RandomKernels& random_kernels();  // specialised in random_ref.cpp and, per set, random_cpu.cpp

}  // namespace pyformer
