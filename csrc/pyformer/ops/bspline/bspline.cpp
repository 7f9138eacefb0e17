#include "pyformer/ops/bspline/bspline.h"

#include <cmath>

#include "pyformer/base/dispatch.h"
#include "pyformer/base/thread_pool.h"
#include "pyformer/ops/bspline/bspline_kernels.h"

namespace pyformer {

static const KernelSets<BsplineKernels>& sets() {
  static const auto sets = kernel_sets<BsplineKernels>([]<Isa isa>() { return &bspline_kernels<isa>(); });
  return sets;
}

static constexpr int64_t kGrain = int64_t(1) << 11;

static double per_width(const SplineGrid& grid) {
  double cells = 0;
  in_default_float_mode([&] { cells = double(grid.intervals) / (grid.high - grid.low); });
  return cells;
}

static void check(const Array& x, const SplineGrid& grid) {
  constexpr int64_t kMostIntervals = int64_t(1) << 20;
  float_index("bspline", x.dtype());
  if (!(grid.low < grid.high) || !std::isfinite(grid.high - grid.low))
    throw ValueError(cat("bspline: expected finite low < high, got ", grid.low, " and ", grid.high));
  if (grid.intervals < 1 || grid.intervals > kMostIntervals)
    throw ValueError(cat("bspline: intervals must be from 1 to ", kMostIntervals, ", got ", grid.intervals));
  if (grid.order < 1 || grid.order > kMaxSplineOrder)
    throw ValueError(cat("bspline: order must be from 1 to ", kMaxSplineOrder, ", got ", grid.order));
  if (!std::isfinite(per_width(grid)))
    throw ValueError(cat("bspline: expected cells of a width that is not 0, got low ", grid.low, ", high ", grid.high));
}

Array bspline_forward(const Array& x, const SplineGrid& grid) {
  check(x, grid);
  const auto kernel = find_kernel("bspline", sets(), &BsplineKernels::forward, x.dtype());
  Shape shape = x.shape();
  shape.push_back(grid.intervals + grid.order);
  const Array out = Array::empty(shape, x.dtype());
  const BsplineForward args = {grid.intervals, grid.order, grid.low, per_width(grid), x.raw(), out.raw()};
  parallel_for(x.size(), kGrain, [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
  return out;
}

Array bspline_backward(const Array& dout, const Array& x, const SplineGrid& grid) {
  const auto kernel = find_kernel("bspline", sets(), &BsplineKernels::backward, x.dtype());
  const Array dx = Array::empty(x.shape(), x.dtype());
  const BsplineBackward args = {grid.intervals, grid.order, grid.low, per_width(grid), dout.raw(), x.raw(), dx.raw()};
  parallel_for(x.size(), kGrain, [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
  return dx;
}

Tensor bspline(const Tensor& x, const SplineGrid& grid) {
  return record("bspline", {x}, bspline_forward(x.array(), grid),
                [x = save(x), grid](const Array& dout, const Needs&) -> Gradients {
                  return {bspline_backward(dout, x(), grid)};
                });
}

}  // namespace pyformer
