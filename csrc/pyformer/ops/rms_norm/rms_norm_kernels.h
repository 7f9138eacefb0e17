// What rms_norm's kernels see.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

// Work item: one row.
struct RmsNormForward {
  int64_t rows, cols;
  double eps;
  const void* x;       // (rows, C)
  const void* weight;  // (C,) or null: ones
  void* out;           // (rows, C)
  bool nontemporal;    // out goes past the caches
  void* statistics;    // (rows,) of NormRow, in the accumulator's dtype
  int64_t items() const { return rows; }
  int64_t grain() const { return grain_of_rows(cols); }
};

// Work item: one chunk of kRowChunk rows, whose contribution to dweight is one partial row.
struct RmsNormBackward {
  static constexpr int64_t kRowChunk = 32;
  int64_t rows, cols;
  const void* dout;        // (rows, C)
  const void* x;           // (rows, C)
  const void* weight;      // (C,) or null
  const void* statistics;  // (rows,) of NormRow
  void* dx;                // (rows, C) or null: not wanted
  bool nontemporal;        // dx goes past the caches
  void* dweight;           // (chunks, C) or null, in the accumulator's dtype
  int64_t items() const { return (rows + kRowChunk - 1) / kRowChunk; }
  int64_t grain() const { return 1; }
};

struct RmsNormTable {
  static constexpr const char* name = "rms_norm";
  PerDtype<Kernel<RmsNormForward>> forward;
  PerDtype<Kernel<RmsNormBackward>> backward;
};

}  // namespace pyformer
