// What cross_entropy's kernels see. Work item: one row.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

struct CrossEntropyForward {
  int64_t cols;
  int64_t ignore_index;
  double label_smoothing;
  const void* logits;      // (rows, V)
  const int64_t* targets;  // (rows,)
  void* loss;              // (rows,), 0 where ignored
  void* max;               // (rows,)
  void* log_sum;           // (rows,)
};

struct CrossEntropyBackward {
  int64_t cols;
  int64_t ignore_index;
  double label_smoothing;
  double divisor;
  const void* dout;        // (rows,) or one number
  int64_t dout_stride;     // 1 or 0
  const void* logits;      // (rows, V)
  const int64_t* targets;  // (rows,)
  const void* max;         // (rows,)
  const void* log_sum;     // (rows,)
  void* dlogits;           // (rows, V); may be logits itself
  bool nontemporal;            // dlogits go past the caches
};

struct CrossEntropyKernels {  // each indexed [float32, float64]
  Kernel<CrossEntropyForward> forward[2];
  Kernel<CrossEntropyBackward> backward[2];
};
template <Isa>
const CrossEntropyKernels& cross_entropy_kernels();  // specialised in cross_entropy_ref.cpp, cross_entropy_cpu.cpp

}  // namespace pyformer
