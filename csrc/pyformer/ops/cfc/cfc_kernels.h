// What cfc's kernels see: one step. Work item: one row of the batch.
#pragma once
#include "pyformer/ops/lstm/recurrent_kernels.h"

namespace pyformer {

struct CfcForward {
  int64_t hidden;
  StepRows recurrent;  // (B, 3 H)
  StepRows gates;      // (B, 3 H), in: the inputs' part; out: s, g, k
  StepRows elapsed;    // (B, 1), or null: ones
  StepRows h;
};

struct CfcBackward {
  int64_t hidden;
  StepRows gates, elapsed;
  StepRows dout, dh;  // the gradient of h_t: of the output, and from later steps
  StepRows dgates;    // out: before the activations
};

struct CfcKernels {  // each indexed [float32, float64]
  Kernel<CfcForward> forward[2];
  Kernel<CfcBackward> backward[2];
};
template <Isa>
const CfcKernels& cfc_kernels();  // specialised in cfc_ref.cpp and, per set, cfc_cpu.cpp

}  // namespace pyformer
