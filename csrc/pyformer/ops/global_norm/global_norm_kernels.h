// What global_norm's kernels see.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

// A sum of squares in units: sum of (x * scale)^2, scale a power of two, 1 where the plain sum has all its bits.
struct ScaledSquares {
  double sum, scale;
};

struct SquaresBlock {
  const void* x;
  int64_t count;
  ScaledSquares* sum;  // out
};

// Work item: one block of at most 4,096 elements.
struct SumSquares {
  const SquaresBlock* blocks;
  int64_t count;
  int64_t items() const { return count; }
  int64_t grain() const { return 4; }
};

// The one work item: the square root of all sums, added one after another.
struct NormOfSums {
  int64_t count;
  const ScaledSquares* sums;
  double* norm;
  int64_t items() const { return 1; }
  int64_t grain() const { return 1; }
};

// The one work item: max_norm / (norm + 1e-6) where norm is finite and above max_norm, else 1.
struct ClipFactor {
  const double* norm;
  double max_norm;
  double* factor;
  int64_t items() const { return 1; }
  int64_t grain() const { return 1; }
};

struct GlobalNormTable {
  static constexpr const char* name = "global_norm";
  PerDtype<Kernel<SumSquares>> sum_squares;
  PerDtype<Kernel<NormOfSums>> norm;  // float64
  PerDtype<Kernel<ClipFactor>> clip;  // float64
};

}  // namespace pyformer
