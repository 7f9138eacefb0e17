#include "pyformer/ops/rms_norm/rms_norm.h"

#include <cmath>

#include "pyformer/base/norm_row.h"
#include "pyformer/base/run.h"
#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/core/precision.h"
#include "pyformer/ops/rms_norm/rms_norm_kernels.h"

namespace pyformer {

static void check_weight(const Array& weight, const Array& x) {
  if (!weight.defined()) return;
  if (weight.ndim() != 1 || weight.dim(0) != x.shape().back())
    throw ValueError(cat("rms_norm: weight must be (C,) = (", x.shape().back(), ",), got ", weight.shape().str()));
  check_alike("rms_norm", "weight", weight, "x", x);
}

RmsNormResult rms_norm_forward(const Array& x, const Array& weight, double eps) {
  if (x.ndim() == 0 || x.shape().back() == 0)
    throw ValueError(cat("rms_norm: x must be (..., C) with C >= 1, got ", x.shape().str()));
  if (!(eps >= 0 && std::isfinite(eps))) throw ValueError(cat("rms_norm: eps must be >= 0 and finite, got ", eps));
  check_weight(weight, x);
  const int64_t rows = rows_of(x), cols = x.shape().back();
  RmsNormResult r = {x.like(x.shape()), x.like({rows, kNormRowNumbers}, accumulator(x.dtype()))};
  run("rms_norm", &RmsNormTable::forward, x,
      RmsNormForward{rows, cols, eps, x.raw(), weight.raw(), r.out.raw(), r.out.bytes() >= kNontemporalToProducts,
                     r.statistics.raw()});
  return r;
}

RmsNormGradient rms_norm_backward(const Array& dout, const Array& x, const Array& weight, const Array& statistics,
                                  bool need_dx, bool need_dweight) {
  const int64_t cols = x.shape().back();
  RmsNormBackward args = {};
  args.rows = rows_of(x);
  args.cols = cols;
  const Array dx = need_dx ? x.like(x.shape()) : Array();
  const Array dweight = need_dweight ? x.like({args.items(), cols}, accumulator(x.dtype())) : Array();
  args.dout = dout.raw();
  args.x = x.raw();
  args.weight = weight.raw();
  args.statistics = statistics.raw();
  args.dx = dx.raw();
  args.nontemporal = dx.bytes() >= kNontemporalToProducts;
  args.dweight = dweight.raw();
  run("rms_norm", &RmsNormTable::backward, x, args);
  return {dx, need_dweight ? sum_partials(dweight) : Array()};
}

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  if (has_narrow({x, weight})) return rms_norm(widened(x), widened(weight), eps);
  RmsNormResult r = rms_norm_forward(x.array(), weight.array(), eps);
  return record("rms_norm", {x, weight}, r.out,
                [x = save(x), weight = save(weight), statistics = r.statistics](const Array& dout,
                                                                                const Needs& need) -> Gradients {
                  RmsNormGradient g = rms_norm_backward(dout, x(), weight(), statistics, need[0], need[1]);
                  return {g.dx, g.dweight};
                });
}

}  // namespace pyformer
