// What reduce's kernels see. An array is (outer, n, inner) with n reduced.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

// inner = 1. Work item: one block of at most 4,096 elements of one row.
struct SumBlocks {
  int64_t n, blocks;
  double divisor;
  const void* x;  // (rows, n)
  void* sums;     // (rows, blocks), each divided by divisor
};

// Work item: one row, whose block sums meet in the binary tree.
struct SumTree {
  int64_t blocks;
  double divisor;
  const void* sums;  // (rows, blocks)
  void* out;         // (rows,)
};

// Work item: a range of kColumns of the inner elements of one chain of 256 of one outer index.
struct SumChains {
  static constexpr int64_t kColumns = 2048;
  int64_t n, inner, chains, column_ranges;
  double divisor;
  const void* x;  // (outer, n, inner)
  void* sums;     // (outer, chains, inner), each divided by divisor
};

// Work item: one outer index, or a range of kColumns of its inner elements.
struct Extreme {
  static constexpr int64_t kColumns = 512;
  int64_t n, inner, column_ranges;
  bool minimum;
  const void* x;   // (outer, n, inner)
  void* out;       // (outer, inner)
  int64_t* index;  // (outer, inner)
};

// The gradient of a sum. Work item: one of outer * n rows of inner elements, dout / divisor of its outer index.
struct Spread {
  int64_t n, inner;
  double divisor;
  const void* dout;  // (outer, inner)
  void* dx;          // (outer, n, inner)
  bool nontemporal;      // dx goes past the caches
};

struct ReduceKernels {  // each indexed [float32, float64]
  Kernel<SumBlocks> sum_blocks[2];
  Kernel<SumTree> sum_tree[2];
  Kernel<SumChains> sum_chains[2];
  Kernel<Extreme> extreme_rows[2];  // inner = 1
  Kernel<Extreme> extreme_columns[2];
  Kernel<Spread> spread[2];
};
template <Isa>
const ReduceKernels& reduce_kernels();  // specialised in reduce_ref.cpp and, per set, reduce_cpu.cpp

}  // namespace pyformer
