// What pool's kernels see.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

// Work item of all: one plane.
struct PoolWindow {
  int64_t planes;
  int64_t height, width, rows, cols;  // of a plane of x, of out
  int64_t kernel_y, kernel_x, stride_y, stride_x, padding_y, padding_x;
  int64_t grain() const { return grain_of_rows(height * width); }
};

struct MaxPool {
  PoolWindow window;
  const void* x;
  void* out;
  int32_t* tap;  // as out: which element of its window won
  int64_t items() const { return window.planes; }
  int64_t grain() const { return window.grain(); }
};
struct MaxPoolGradient {
  PoolWindow window;
  const void* dout;
  const int32_t* tap;
  void* dx;  // in the accumulator's dtype
  int64_t items() const { return window.planes; }
  int64_t grain() const { return window.grain(); }
};
struct AvgPool {
  PoolWindow window;
  const void* x;
  void* out;  // in the accumulator's dtype
  int64_t items() const { return window.planes; }
  int64_t grain() const { return window.grain(); }
};
struct AvgPoolGradient {
  PoolWindow window;
  const void* dout;
  void* dx;  // in the accumulator's dtype
  int64_t items() const { return window.planes; }
  int64_t grain() const { return window.grain(); }
};

struct PoolTable {
  static constexpr const char* name = "pool";
  PerDtype<Kernel<MaxPool>> max;
  PerDtype<Kernel<MaxPoolGradient>> max_gradient;
  PerDtype<Kernel<AvgPool>> avg;
  PerDtype<Kernel<AvgPoolGradient>> avg_gradient;
};

}  // namespace pyformer
