// What lstm's kernels see: one step. Work item: one row of the batch.
#pragma once
#include "pyformer/ops/lstm/recurrent_kernels.h"

namespace pyformer {

struct LstmForward {
  int64_t hidden;
  StepRows recurrent;  // (B, 4 H)
  StepRows gates;      // (B, 4 H), in: the inputs' part; out: i, f, g, o
  StepRows c_previous, c, h;
};

struct LstmBackward {
  int64_t hidden;
  StepRows gates, c_previous, c;
  StepRows dout, dh;  // the gradient of h_t: of the output, and from later steps
  StepRows dc;        // in: the gradient of c_t from later steps; out: that of c_{t-1}
  StepRows dgates;    // out: before the activations
};

struct LstmKernels {  // each indexed [float32, float64]
  Kernel<LstmForward> forward[2];
  Kernel<LstmBackward> backward[2];
};
template <Isa>
const LstmKernels& lstm_kernels();  // specialised in lstm_ref.cpp and, per set, lstm_cpu.cpp

}  // namespace pyformer
