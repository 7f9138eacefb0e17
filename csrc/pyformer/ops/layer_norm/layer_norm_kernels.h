// What layer_norm's kernels see.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

// Work item: one row.
struct LayerNormForward {
  int64_t cols;
  double eps;
  const void* x;       // (rows, C)
  const void* weight;  // (C,) or null: ones
  const void* bias;    // (C,) or null: zeros
  void* out;           // (rows, C)
  bool streams;        // out goes past the caches
  void* mean;          // (rows,)
  void* rstd;          // (rows,)
};

// Work item: one chunk of kRowChunk rows, whose contribution to dweight and dbias is one partial row.
struct LayerNormBackward {
  static constexpr int64_t kRowChunk = 32;
  int64_t rows, cols;
  const void* dout;    // (rows, C)
  const void* x;       // (rows, C)
  const void* weight;  // (C,) or null
  const void* mean;    // (rows,)
  const void* rstd;    // (rows,)
  void* dx;            // (rows, C) or null: not wanted
  bool streams;        // dx goes past the caches
  void* dweight;       // (chunks, C) or null
  void* dbias;         // (chunks, C) or null
};

struct LayerNormKernels {  // each indexed [float32, float64]
  Kernel<LayerNormForward> forward[2];
  Kernel<LayerNormBackward> backward[2];
};
template <Isa>
const LayerNormKernels& layer_norm_kernels();  // specialised in layer_norm_ref.cpp and, per set, layer_norm_cpu.cpp

}  // namespace pyformer
