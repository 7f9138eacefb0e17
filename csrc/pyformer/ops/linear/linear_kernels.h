// What linear's own kernels see; its products are matmul's.
#pragma once
#include "pyformer/ops/matmul/matmul_kernels.h"

namespace pyformer {

// Work item: a chain of kChainLength rows of a range of kColumns columns; items run over the ranges first.
struct LinearBackward {
  static constexpr int64_t kColumns = 256;
  int64_t rows, cols, column_ranges;
  Activation activation;
  const void* dout;           // (rows, cols)
  const void* preactivation;  // (rows, cols) or null: no activation
  void* dpre;                 // (rows, cols) or null: dout itself
  void* dbias;                // (chains, cols) or null: not wanted
};

// Work item: one element. out = activation(x), and x becomes activation'(x).
struct LinearActivate {
  Activation activation;
  void* x;
  void* out;
  bool nontemporal;  // out goes past the caches
};

struct LinearKernels {  // each indexed [float32, float64]
  Kernel<LinearBackward> backward[2];
  Kernel<LinearActivate> activate[2];
};
template <Isa>
const LinearKernels& linear_kernels();  // specialised in linear_ref.cpp and, per set, linear_cpu.cpp

}  // namespace pyformer
