// What linear_cross_entropy's own kernels see; the rest is gemm and cross_entropy.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

// Work item: a range of kColumns columns. sum += p0, then p1, ..., p_i the chain of additions from +0 over 256
// consecutive rows.
struct AddColumnChains {
  static constexpr int64_t kColumns = 1024;
  int64_t rows, cols;
  const void* x;  // (rows, cols)
  void* sum;      // (cols,)
  int64_t items() const { return (cols + kColumns - 1) / kColumns; }
  int64_t grain() const { return 1; }
};

// Work item: one element. x = x * (factor / unit); nothing where that is 1.
struct ScaleGradient {
  int64_t size;
  void* x;
  const void* factor;      // one number of the accumulator's dtype
  double unit;             // a power of 2
  const int64_t* counted;  // times this, at least 1; null: nothing
  int64_t items() const { return size; }
  int64_t grain() const { return int64_t(1) << 15; }
};

// Of the CPU only. Work item: one row of x. `found` becomes 1 where an ignored row holds an infinity or NaN.
struct FindIgnored {
  int64_t rows, cols, ignored;
  const int64_t* targets;  // (rows,)
  const void* x;           // (rows, cols)
  int64_t* found;
  int64_t items() const { return rows; }
  int64_t grain() const { return 64; }
};

// Work item: one row. out = x, but 0 where an ignored row holds an infinity or NaN.
struct ClearIgnored {
  int64_t rows, cols, ignored;
  const int64_t* targets;
  const void* x;
  void* out;
  int64_t items() const { return rows; }
  int64_t grain() const { return 64; }
};

struct LinearCrossEntropyTable {
  static constexpr const char* name = "linear_cross_entropy";
  static constexpr bool plain = true;
  PerDtype<Kernel<AddColumnChains>> add_column_chains;  // of accumulators only
  PerDtype<Kernel<ScaleGradient>> scale;
  PerDtype<Kernel<FindIgnored>> find_ignored;
  PerDtype<Kernel<ClearIgnored>> clear_ignored;
};

}  // namespace pyformer
