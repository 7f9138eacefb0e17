// What global_norm's kernels see. Work item: one block of at most 4,096 elements.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

struct SquaresBlock {
  const void* x;
  int64_t count;
  double* sum;  // out: sum of x^2
};

struct SumSquares {
  const SquaresBlock* blocks;
};

struct GlobalNormKernels {  // each indexed [float32, float64]
  Kernel<SumSquares> sum_squares[2];
};
template <Isa>
const GlobalNormKernels& global_norm_kernels();  // specialised in global_norm_ref.cpp, global_norm_cpu.cpp

}  // namespace pyformer
