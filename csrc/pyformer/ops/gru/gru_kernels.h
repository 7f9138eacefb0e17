// What gru's kernels see: one step. Work item: one row of the batch.
#pragma once
#include "pyformer/ops/lstm/recurrent_kernels.h"

namespace pyformer {

struct GruForward {
  int64_t hidden;
  StepRows recurrent;   // (B, 3 H): v
  StepRows gates;       // (B, 3 H), in: u; out: r, z, n
  StepRows candidates;  // out: v_n
  StepRows h_previous, h;
};

struct GruBackward {
  int64_t hidden;
  StepRows gates, candidates, h_previous;
  StepRows dout;  // the gradient of h_t of the output
  StepRows dh;    // in: the gradient of h_t from later steps; out: that of h_{t-1} but for what comes through dv
  StepRows du, dv;
};

struct GruKernels {  // each indexed [float32, float64]
  Kernel<GruForward> forward[2];
  Kernel<GruBackward> backward[2];
};
template <Isa>
const GruKernels& gru_kernels();  // specialised in gru_ref.cpp and, per set, gru_cpu.cpp

}  // namespace pyformer
