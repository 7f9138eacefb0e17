// What linear's own kernels see; its products are gemm's.
#pragma once
#include "pyformer/base/kernel.h"
#include "pyformer/ops/activation/activation_kind.h"

namespace pyformer {

// Work item: a chain of kChainLength rows of a range of kColumns columns; items run over the ranges first.
struct LinearBackward {
  static constexpr int64_t kColumns = 256;
  int64_t rows, cols;
  Activation activation;
  const void* dout;           // (rows, cols)
  const void* preactivation;  // (rows, cols) or null: no activation
  void* dpre;                 // (rows, cols) or null: dout itself
  void* dbias;                // (chains, cols) or null: not wanted; in the accumulator's dtype
  int64_t chains() const { return (rows + kChainLength - 1) / kChainLength; }
  int64_t column_ranges() const { return (cols + kColumns - 1) / kColumns; }
  int64_t items() const { return chains() * column_ranges(); }
  int64_t grain() const { return 1; }
};

struct LinearTable {
  static constexpr const char* name = "linear";
  PerDtype<Kernel<LinearBackward>> backward;
};

}  // namespace pyformer
