// What reduce's kernels see. An array is (outer, n, inner) with n reduced. Sums are in the accumulator's dtype; those
// of integers and bool are int64.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// Work item: a range of `columns` of the inner elements of one block of at most 4,096 of the n elements of one outer
// index.
struct SumBlocks {
  static constexpr int64_t kColumns = 256;  // at most
  int64_t outer, n, inner, blocks, columns;
  double divisor;
  const void* x;  // (outer, n, inner)
  void* sums;     // (outer, blocks, inner), each divided by divisor
  int64_t column_ranges() const { return (inner + columns - 1) / columns; }
  int64_t items() const { return outer * blocks * column_ranges(); }
  int64_t grain() const { return grain_of_rows(smaller(n, kReduceBlock) * smaller(inner, columns)); }
};

// Of floats that are accumulators. Work item: one of the inner elements of one outer index, whose block sums meet in
// the binary tree.
struct SumTree {
  int64_t outer, blocks, inner;
  double divisor;
  const void* sums;  // (outer, blocks, inner)
  void* out;         // (outer, inner)
  int64_t items() const { return outer * inner; }
  int64_t grain() const { return grain_of_rows(blocks); }
};

// Of integers and bool, wrapping around as NumPy's do. Work item: one outer index.
struct SumIntegers {
  int64_t outer, n, inner;
  const void* x;  // (outer, n, inner)
  uint64_t* out;  // (outer, inner)
  int64_t items() const { return inner ? outer : 0; }
  int64_t grain() const { return grain_of_rows(n * inner); }
};

// Work item: one part of one outer index (inner = 1), or a range of kColumns of its inner elements (parts = 1).
struct Extreme {
  static constexpr int64_t kColumns = 512;
  // Rows so long that several threads share one are cut into parts.
  static constexpr int64_t kPart = int64_t(1) << 15, kPartsFrom = int64_t(1) << 16;
  int64_t outer, n, inner, parts;
  bool minimum;
  const void* x;   // (outer, n, inner)
  void* out;       // (outer, parts, inner)
  int64_t* index;  // (outer, parts, inner), within the part
  int64_t part_size() const { return parts == 1 ? n : kPart; }
  int64_t column_ranges() const { return (inner + kColumns - 1) / kColumns; }
  int64_t items() const { return outer * (inner == 1 ? parts : column_ranges()); }
  int64_t grain() const { return grain_of_rows(part_size() * smaller(inner, kColumns)); }
};

// Work item: one row. The extreme of its parts' extremes.
struct ExtremeOfParts {
  int64_t rows, parts;
  bool minimum;
  const void* values;         // (rows, parts)
  const int64_t* part_index;  // (rows, parts)
  void* out;                  // (rows,)
  int64_t* index;             // (rows,), within the row
  int64_t items() const { return rows; }
  int64_t grain() const { return grain_of_rows(parts); }
};

// The gradient of a sum. Work item: one of outer * n rows of inner elements, dout / divisor of its outer index.
struct Spread {
  int64_t outer, n, inner;
  double divisor;
  const void* dout;  // (outer, inner)
  void* dx;          // (outer, n, inner)
  bool nontemporal;  // dx goes past the caches
  int64_t items() const { return inner ? outer * n : 0; }
  int64_t grain() const { return grain_of_rows(inner); }
};

// The gradient of an extreme. Work item: one element of dout. dx is written where one was chosen.
struct Scatter {
  int64_t outer, n, inner;
  const void* dout;      // (outer, inner)
  const int64_t* index;  // (outer, inner)
  void* dx;              // (outer, n, inner)
  int64_t items() const { return outer * inner; }
  int64_t grain() const { return grain_of_rows(1); }
};

// Running sums along n, or from its end backwards: each is that of its chain of 256 plus the base of the chain. Work
// item: a range of kColumns of the inner elements of one chain of one outer index.
struct RunningSums {
  static constexpr int64_t kColumns = 1024;
  int64_t outer, n, inner, chains;
  bool reverse;
  const void* x;  // (outer, n, inner)
  void* bases;    // (outer, chains, inner); running_totals writes the chains' sums here; null if chains is 1
  void* sums;     // (outer, n, inner)
  int64_t column_ranges() const { return (inner + kColumns - 1) / kColumns; }
  int64_t items() const { return outer * chains * column_ranges(); }
  int64_t grain() const { return grain_of_rows(smaller(n, kChainLength) * smaller(inner, kColumns)); }
};

// Work item: one column. The sums of chains become their bases: sums of the chains before (in reverse, behind), which
// meet in the binary tree.
struct RunningBases {
  int64_t outer, chains, inner;
  bool reverse;
  void* bases;  // (outer, chains, inner)
  int64_t items() const { return outer * inner; }
  int64_t grain() const { return grain_of_rows(chains); }
};

struct ReduceTable {
  static constexpr const char* name = "reduce";
  PerDtype<Kernel<SumBlocks>> sum_blocks;
  PerDtype<Kernel<SumTree>> sum_tree;
  PerDtype<Kernel<SumIntegers>> sum_integers;
  PerDtype<Kernel<Extreme>> extreme_rows;  // inner = 1
  PerDtype<Kernel<Extreme>> extreme_columns;
  PerDtype<Kernel<ExtremeOfParts>> extreme_of_parts;
  PerDtype<Kernel<Spread>> spread;
  PerDtype<Kernel<Scatter>> scatter;
  PerDtype<Kernel<RunningSums>> running_totals, running_sums;
  PerDtype<Kernel<RunningBases>> running_bases;  // of accumulators
};

}  // namespace pyformer
