// What lstm's programs and kernels see. Arrays are in one dtype, float32 or float64.
#pragma once
#include "pyformer/ops/recurrent/step_rows.h"

namespace pyformer {

// The walk over all steps, from the inputs' part of the gates. Arrays of states are (B, T, H), c0 and dc (B, H).
struct LstmWalk {
  RecurrentShape s;
  DType dtype;
  const void *w_hh, *b_hh;  // b_hh: or null
  void *h0, *c0;
  void* gates;  // (B, T, 4 H), in: the inputs' part; out: i, f, g, o
  void *cells, *out;
};
struct LstmWalkBackward {
  RecurrentShape s;
  DType dtype;
  const void* w_hh;
  void *c0, *gates, *cells, *dout;
  void *dh, *dc;  // in: of the last step's; out: of the first state's
  void* dgates;   // (B, T, 4 H)
  // Where row b ends, on the host, or null; the gradients of its last state, (B, H), come to dh and dc there.
  const int64_t* lengths;
  void *dh_end, *dc_end;
};

struct LstmTable {
  static constexpr const char* name = "lstm";
  PerDtype<Program<LstmWalk>> forward;
  PerDtype<Program<LstmWalkBackward>> backward;
};
template <Isa isa>
struct KernelsOf<LstmTable, isa> {
  static const LstmTable& table();
};

// One step. Work item: one row of the batch.
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

// What the host's programs are made of.
struct LstmStepTable {
  static constexpr const char* name = "lstm_step";
  PerDtype<Kernel<LstmForward>> forward;
  PerDtype<Kernel<LstmBackward>> backward;
};

}  // namespace pyformer
