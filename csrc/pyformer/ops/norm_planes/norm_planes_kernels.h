// What group_norm's and batch_norm's kernels see. Statistics and sums are in the accumulator's dtype.
#pragma once
#include "pyformer/base/kernel.h"
#include "pyformer/ops/norm_planes/norm_sets.h"

namespace pyformer {

// Work item: one set.
struct NormStatisticsForward {
  NormSets n;
  double eps;
  const void* x;
  void* statistics;  // (sets,) of NormRow
  void* mean;        // (sets,), as var
  void* var;
  int64_t items() const { return n.sets; }
  int64_t grain() const { return grain_of_rows(n.count()); }
};

// Work item: one set.
struct NormApply {
  NormSets n;
  const void* x;
  const void* statistics;  // (sets,) of NormRow
  const void* weight;      // null: ones
  const void* bias;        // null: zeros
  void* out;               // planes as x's
  int64_t items() const { return n.sets; }
  int64_t grain() const { return grain_of_rows(n.count()); }
};

// Work item: one set.
struct NormBackward {
  NormSets n;
  const void* dout;  // planes as x's
  const void* x;
  const void* statistics;  // (sets,) of NormRow
  const void* weight;      // null: ones
  bool constant;           // the statistics do not depend on x
  void* sum;               // (sets, planes), as sum_product
  void* sum_product;
  void* dx;  // planes as x's, or null: not wanted
  int64_t items() const { return n.sets; }
  int64_t grain() const { return grain_of_rows(n.count()); }
};

// Work item: one channel. The statistics of a mean and a variance that are given.
struct NormGiven {
  int64_t channels;
  double eps;
  const void* mean;
  const void* var;
  void* statistics;  // (channels,) of NormRow
  int64_t items() const { return channels; }
  int64_t grain() const { return grain_of_rows(1); }
};

// Work item: one channel. running = (1 - momentum) * running + momentum * (fresh * factor), where factor is
// count / (count - 1), or 1 if count is 0.
struct NormRunning {
  int64_t channels, count;
  double momentum;
  const void* fresh;  // in the accumulator's dtype
  void* running;
  int64_t items() const { return channels; }
  int64_t grain() const { return grain_of_rows(1); }
};

struct NormPlanesTable {
  static constexpr const char* name = "norm_planes";
  PerDtype<Kernel<NormStatisticsForward>> statistics;
  PerDtype<Kernel<NormApply>> apply;
  PerDtype<Kernel<NormBackward>> backward;
  PerDtype<Kernel<NormGiven>> given;
  PerDtype<Kernel<NormRunning>> running;
};

}  // namespace pyformer
