#include "pyformer/ops/bspline/bspline.h"

#include <cmath>

#include "pyformer/base/run.h"
#include "pyformer/core/precision.h"
#include "pyformer/ops/bspline/bspline_kernels.h"

namespace pyformer {

static double per_width(const SplineGrid& grid) {
  double cells = 0;
  in_default_float_mode([&] { cells = double(grid.intervals) / (grid.high - grid.low); });
  return cells;
}

static void check(const SplineGrid& grid) {
  constexpr int64_t kMostIntervals = int64_t(1) << 20;
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
  check(grid);
  Shape shape = x.shape();
  shape.push_back(grid.intervals + grid.order);
  const Array out = x.like(shape);
  run("bspline", &BsplineTable::forward, x,
      BsplineForward{x.size(), grid.intervals, grid.order, grid.low, per_width(grid), x.raw(), out.raw()});
  return out;
}

Array bspline_backward(const Array& dout, const Array& x, const SplineGrid& grid) {
  const Array dx = x.like(x.shape());
  run("bspline", &BsplineTable::backward, x,
      BsplineBackward{x.size(), grid.intervals, grid.order, grid.low, per_width(grid), dout.raw(), x.raw(), dx.raw()});
  return dx;
}

Tensor bspline(const Tensor& x, const SplineGrid& grid) {
  if (has_narrow({x})) return bspline(widened(x), grid);
  return record("bspline", {x}, bspline_forward(x.array(), grid),
                [x = save(x), grid](const Array& dout, const Needs&) -> Gradients {
                  return {bspline_backward(dout, x(), grid)};
                });
}

}  // namespace pyformer
