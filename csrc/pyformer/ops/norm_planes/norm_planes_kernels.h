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
  void* sums;  // (sets, planes), scratch
  void* mean;  // (sets,), as var and rstd
  void* var;
  void* rstd;
  int64_t items() const { return n.sets; }
  int64_t grain() const { return grain_of_rows(n.count()); }
};

// Work item: one set.
struct NormApply {
  NormSets n;
  const void* x;
  const void* mean;  // (sets,), as rstd
  const void* rstd;
  const void* weight;  // null: ones
  const void* bias;    // null: zeros
  void* out;           // planes as x's
  int64_t items() const { return n.sets; }
  int64_t grain() const { return grain_of_rows(n.count()); }
};

// Work item: one set.
struct NormBackward {
  NormSets n;
  const void* dout;  // planes as x's
  const void* x;
  const void* mean;  // (sets,), as rstd
  const void* rstd;
  const void* weight;  // null: ones
  bool constant;       // mean and rstd do not depend on x
  void* sum;           // (sets, planes), as sum_product
  void* sum_product;
  void* dx;  // planes as x's, or null: not wanted
  int64_t items() const { return n.sets; }
  int64_t grain() const { return grain_of_rows(n.count()); }
};

// Work item: one channel. rstd = 1 / sqrt(var + eps)
struct NormDeviation {
  int64_t channels;
  double eps;
  const void* var;
  void* rstd;
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
  PerDtype<Kernel<NormDeviation>> deviation;
  PerDtype<Kernel<NormRunning>> running;
};

}  // namespace pyformer
