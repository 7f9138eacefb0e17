// What gru's programs and kernels see. Arrays are in one dtype, float32 or float64.
#pragma once
#include "pyformer/ops/recurrent/step_rows.h"

namespace pyformer {

// The walk over all steps, from the inputs' part of the gates. Arrays of states are (B, T, H).
struct GruWalk {
  RecurrentShape s;
  DType dtype;
  const void *w_hh, *b_hh;  // b_hh: or null
  void* h0;
  void* gates;       // (B, T, 3 H), in: u; out: r, z, n
  void* candidates;  // v_n
  void* out;
};
struct GruWalkBackward {
  RecurrentShape s;
  DType dtype;
  const void* w_hh;
  void *h0, *gates, *candidates, *out, *dout;
  void* dh;       // in: of the last step's; out: of the first state's
  void *du, *dv;  // (B, T, 3 H)
};

struct GruTable {
  static constexpr const char* name = "gru";
  PerDtype<Program<GruWalk>> forward;
  PerDtype<Program<GruWalkBackward>> backward;
};
template <Isa isa>
struct KernelsOf<GruTable, isa> {
  static const GruTable& table();
};

// One step. Work item: one row of the batch.
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

// What the host's programs are made of.
struct GruStepTable {
  static constexpr const char* name = "gru_step";
  PerDtype<Kernel<GruForward>> forward;
  PerDtype<Kernel<GruBackward>> backward;
};

}  // namespace pyformer
