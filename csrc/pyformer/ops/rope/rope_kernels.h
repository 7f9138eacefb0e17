// What rope's kernels see.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

// Work item: one token (b, t).
struct Rope {
  int64_t tokens, heads, head_dim, pairs;  // T, H, D, R: the first 2 R of the D elements are turned
  bool interleaved;                        // pairs (2 i, 2 i + 1) instead of (i, i + R)
  bool backward;                           // turn back: the gradient
  const int64_t* positions;                // at [b * position_batch + t]
  int64_t position_batch;                  // T, or 0 where batch rows share them
  const double* frequencies;               // (R,)
  const void* x;                           // (B, T, H, D)
  void* out;                               // (B, T, H, D)
  void* workspace;                         // one thread's, 2 R elements
};

struct RopeKernels {  // each indexed [float32, float64]
  Kernel<Rope> turn[2];
};
template <Isa>
const RopeKernels& rope_kernels();  // specialised in rope_ref.cpp and, per set, rope_cpu.cpp

}  // namespace pyformer
