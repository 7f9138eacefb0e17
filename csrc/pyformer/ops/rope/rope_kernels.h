// What rope's kernels see.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

// Work item: one token (b, t).
struct Rope {
  int64_t batch, tokens, heads, head_dim, pairs;  // B, T, H, D, R: the first 2 R of the D elements are turned
  bool interleaved;                               // pairs (2 i, 2 i + 1) instead of (i, i + R)
  bool backward;                                  // turn back: the gradient
  const int64_t* positions;                       // at [b * position_batch + t]
  int64_t position_batch;                         // T, or 0 where batch rows share them
  const double* frequencies;                      // (R,)
  const void* x;                                  // (B, T, H, D)
  void* out;                                      // (B, T, H, D)
  void* scratch = nullptr;                        // of vector code: 2 R elements
  int64_t items() const { return batch * tokens; }
  int64_t grain() const { return grain_of_rows(heads * head_dim); }
  int64_t scratch_bytes(DType dtype) const { return 2 * pairs * item_bytes(dtype); }
};

struct RopeTable {
  static constexpr const char* name = "rope";
  PerDtype<Kernel<Rope>> turn;
};

}  // namespace pyformer
