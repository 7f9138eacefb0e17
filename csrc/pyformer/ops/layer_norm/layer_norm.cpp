#include "pyformer/ops/layer_norm/layer_norm.h"

#include <cmath>

#include "pyformer/base/norm_row.h"
#include "pyformer/base/run.h"
#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/core/precision.h"
#include "pyformer/ops/layer_norm/layer_norm_kernels.h"

namespace pyformer {

static void check_parameter(const char* which, const Array& parameter, const Array& x) {
  if (!parameter.defined()) return;
  if (parameter.ndim() != 1 || parameter.dim(0) != x.shape().back())
    throw ValueError(
        cat("layer_norm: ", which, " must be (C,) = (", x.shape().back(), ",), got ", parameter.shape().str()));
  check_alike("layer_norm", which, parameter, "x", x);
}

LayerNormResult layer_norm_forward(const Array& x, const Array& weight, const Array& bias, double eps) {
  if (x.ndim() == 0 || x.shape().back() == 0)
    throw ValueError(cat("layer_norm: x must be (..., C) with C >= 1, got ", x.shape().str()));
  if (!(eps >= 0 && std::isfinite(eps))) throw ValueError(cat("layer_norm: eps must be >= 0 and finite, got ", eps));
  check_parameter("weight", weight, x);
  check_parameter("bias", bias, x);
  const int64_t rows = rows_of(x), cols = x.shape().back();
  LayerNormResult r = {x.like(x.shape()), x.like({rows, kNormRowNumbers}, accumulator(x.dtype()))};
  run("layer_norm", &LayerNormTable::forward, x,
      LayerNormForward{rows, cols, eps, x.raw(), weight.raw(), bias.raw(), r.out.raw(),
                       r.out.bytes() >= kNontemporalToProducts, r.statistics.raw()});
  return r;
}

LayerNormGradient layer_norm_backward(const Array& dout, const Array& x, const Array& weight, const Array& statistics,
                                      bool need_dx, bool need_dweight, bool need_dbias) {
  const int64_t rows = rows_of(x), cols = x.shape().back();
  LayerNormBackward args = {};
  args.rows = rows;
  args.cols = cols;
  const auto partials = [&](bool wanted) {
    return wanted ? x.like({args.items(), cols}, accumulator(x.dtype())) : Array();
  };
  const Array dx = need_dx ? x.like(x.shape()) : Array(), dweight = partials(need_dweight),
              dbias = partials(need_dbias);
  args.dout = dout.raw();
  args.x = x.raw();
  args.weight = weight.raw();
  args.statistics = statistics.raw();
  args.dx = dx.raw();
  args.nontemporal = dx.bytes() >= kNontemporalToProducts;
  args.dweight = dweight.raw();
  args.dbias = dbias.raw();
  run("layer_norm", &LayerNormTable::backward, x, args);
  return {dx, need_dweight ? sum_partials(dweight) : Array(), need_dbias ? sum_partials(dbias) : Array()};
}

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
  if (has_narrow({x, weight, bias})) return layer_norm(widened(x), widened(weight), widened(bias), eps);
  LayerNormResult r = layer_norm_forward(x.array(), weight.array(), bias.array(), eps);
  return record("layer_norm", {x, weight, bias}, r.out,
                [x = save(x), weight = save(weight), statistics = r.statistics](const Array& dout,
                                                                                const Needs& need) -> Gradients {
                  LayerNormGradient g = layer_norm_backward(dout, x(), weight(), statistics, need[0], need[1], need[2]);
                  return {g.dx, g.dweight, g.dbias};
                });
}

}  // namespace pyformer
