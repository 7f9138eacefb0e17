// What the kernels of layer_norm and rms_norm see. rms_norm has no bias.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

// Work item: one row.
struct RowNormForward {
  int64_t rows, cols;
  double eps;
  const void* x;       // (rows, C)
  const void* weight;  // (C,) or null: ones
  const void* bias;    // (C,) or null: zeros
  void* out;           // (rows, C)
  bool nontemporal;    // out goes past the caches
  void* statistics;    // (rows,) of NormRow, in the accumulator's dtype
  int64_t items() const { return rows; }
  int64_t grain() const { return grain_of_rows(cols); }
};

// Work item: one chunk of kRowChunk rows, whose contribution to dweight and dbias is one partial row.
struct RowNormBackward {
  static constexpr int64_t kRowChunk = 32;
  int64_t rows, cols;
  const void* dout;        // (rows, C)
  const void* x;           // (rows, C)
  const void* weight;      // (C,) or null
  const void* statistics;  // (rows,) of NormRow
  void* dx;                // (rows, C) or null: not wanted
  bool nontemporal;        // dx goes past the caches
  void* dweight;           // (chunks, C) or null, in the accumulator's dtype
  void* dbias;             // (chunks, C) or null, likewise
  int64_t items() const { return (rows + kRowChunk - 1) / kRowChunk; }
  int64_t grain() const { return 1; }
};

struct RowNormTable {
  static constexpr const char* name = "norm";
  PerDtype<Kernel<RowNormForward>> layer_forward, rms_forward;
  PerDtype<Kernel<RowNormBackward>> layer_backward, rms_backward;
};

}  // namespace pyformer
