// What bspline's kernels see. Work item: one element of x.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

constexpr int64_t kMaxSplineOrder = 8;
constexpr int64_t kSplineGrain = int64_t(1) << 11;

struct BsplineForward {
  int64_t size, intervals, order;
  double low, per_width;  // per_width = intervals / (high - low)
  const void* x;
  void* out;
  int64_t items() const { return size; }
  int64_t grain() const { return kSplineGrain; }
};
struct BsplineBackward {
  int64_t size, intervals, order;
  double low, per_width;
  const void* dout;
  const void* x;
  void* dx;
  int64_t items() const { return size; }
  int64_t grain() const { return kSplineGrain; }
};

struct BsplineTable {
  static constexpr const char* name = "bspline";
  PerDtype<Kernel<BsplineForward>> forward;
  PerDtype<Kernel<BsplineBackward>> backward;
};

}  // namespace pyformer
