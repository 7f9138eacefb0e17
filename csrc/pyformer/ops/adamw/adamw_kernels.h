// What adamw's kernels see. Work item: one piece, consecutive elements of one parameter.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

struct AdamWPiece {
  void* param;
  const void* grad;
  void* exp_avg;
  void* exp_avg_sq;
  int64_t count;
};

struct AdamWStep {
  const AdamWPiece* pieces;
  double decay;   // 1 - lr * weight_decay
  double blend1;  // 1 - beta1
  double beta2;
  double blend2;      // 1 - beta2
  double correction;  // sqrt(1 - beta2^step)
  double eps;
  double step_size;  // lr / (1 - beta1^step)
};

struct AdamWKernels {  // each indexed [float32, float64]
  Kernel<AdamWStep> step[2];
};
template <Isa>
const AdamWKernels& adamw_kernels();  // specialised in adamw_ref.cpp and, per set, adamw_cpu.cpp

}  // namespace pyformer
