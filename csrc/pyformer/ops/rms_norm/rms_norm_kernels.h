// What rms_norm's kernels see.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

// Work item: one row.
struct RmsNormForward {
  int64_t cols;
  double eps;
  const void* x;       // (rows, C)
  const void* weight;  // (C,) or null: ones
  void* out;           // (rows, C)
  bool nontemporal;        // out goes past the caches
  void* rstd;          // (rows,)
};

// Work item: one chunk of kRowChunk rows, whose contribution to dweight is one partial row.
struct RmsNormBackward {
  static constexpr int64_t kRowChunk = 32;
  int64_t rows, cols;
  const void* dout;    // (rows, C)
  const void* x;       // (rows, C)
  const void* weight;  // (C,) or null
  const void* rstd;    // (rows,)
  void* dx;            // (rows, C) or null: not wanted
  bool nontemporal;        // dx goes past the caches
  void* dweight;       // (chunks, C) or null
};

struct RmsNormKernels {  // each indexed [float32, float64]
  Kernel<RmsNormForward> forward[2];
  Kernel<RmsNormBackward> backward[2];
};
template <Isa>
const RmsNormKernels& rms_norm_kernels();  // specialised in rms_norm_ref.cpp and, per set, rms_norm_cpu.cpp

}  // namespace pyformer
