// What cfc's programs and kernels see. Arrays are in one dtype, float32 or float64.
#pragma once
#include "pyformer/ops/recurrent/step_rows.h"

namespace pyformer {

// The walk over all steps, from the inputs' part of the gates. Arrays of states are (B, T, H).
struct CfcWalk {
  RecurrentShape s;
  DType dtype;
  const void *w_hh, *b_hh;  // b_hh: or null
  void* h0;
  void* elapsed;  // (B, T), or null: ones
  void* gates;    // (B, T, 3 H), in: the inputs' part; out: s, g, k
  void* out;
};
struct CfcWalkBackward {
  RecurrentShape s;
  DType dtype;
  const void* w_hh;
  void *elapsed, *gates, *dout;
  void* dh;      // in: of the last step's; out: of the first state's
  void* dgates;  // (B, T, 3 H)
};

struct CfcTable {
  static constexpr const char* name = "cfc";
  PerDtype<Program<CfcWalk>> forward;
  PerDtype<Program<CfcWalkBackward>> backward;
};
template <Isa isa>
struct KernelsOf<CfcTable, isa> {
  static const CfcTable& table();
};

// One step. Work item: one row of the batch.
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

// What the host's programs are made of.
struct CfcStepTable {
  static constexpr const char* name = "cfc_step";
  PerDtype<Kernel<CfcForward>> forward;
  PerDtype<Kernel<CfcBackward>> backward;
};

}  // namespace pyformer
