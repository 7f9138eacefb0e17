#include "pyformer/ops/group_norm/group_norm.h"

#include "pyformer/core/precision.h"
#include "pyformer/ops/norm_planes/norm_planes.h"
#include "pyformer/ops/reduce/reduce.h"

namespace pyformer {

static NormSets sets_of(const Array& x, int64_t groups) {
  const int64_t planes = x.dim(1) / groups, size = x.shape().inner(1);
  return {x.dim(0) * groups, planes, size, planes * size, size, groups, planes, true};
}

GroupNormResult group_norm_forward(const Array& x, int64_t groups, const Array& weight, const Array& bias, double eps) {
  check_norm("group_norm", x, weight, bias, eps);
  if (groups < 1 || x.dim(1) == 0 || x.dim(1) % groups)
    throw ValueError(
        cat("group_norm: groups must divide the ", x.dim(1), " channels of x ", x.shape().str(), ", got ", groups));
  const NormSets n = sets_of(x, groups);
  const NormStatistics s = norm_statistics("group_norm", n, x, eps);
  return {norm_apply("group_norm", n, x, s.rows, weight, bias), s.rows};
}

// With xhat = (x - mean) * rstd, g = dout * weight and means over a group
//   (1) dx = rstd * (g - mean(g) - xhat * mean(g * xhat))   (2) dweight = sum dout * xhat   (3) dbias = sum dout
GroupNormGradient group_norm_backward(const Array& dout, const Array& x, int64_t groups, const Array& weight,
                                      const Array& statistics, bool need_dx, bool need_dweight, bool need_dbias) {
  const PlanesGradient g = norm_gradient("group_norm", sets_of(x, groups), dout, x, statistics, weight, false, need_dx);
  const auto over_images = [&](const Array& sums) {
    return sum_wide(sums.reshape({x.dim(0), x.dim(1)}), Axes(std::vector<int64_t>{0}), false);
  };
  return {g.dx, need_dweight ? over_images(g.sum_product) : Array(), need_dbias ? over_images(g.sum) : Array()};
}

Tensor group_norm(const Tensor& x, int64_t groups, const Tensor& weight, const Tensor& bias, double eps) {
  if (has_narrow({x, weight, bias})) return group_norm(widened(x), groups, widened(weight), widened(bias), eps);
  GroupNormResult r = group_norm_forward(x.array(), groups, weight.array(), bias.array(), eps);
  return record("group_norm", {x, weight, bias}, r.out,
                [x = save(x), weight = save(weight), groups, statistics = r.statistics](
                    const Array& dout, const Needs& need) -> Gradients {
                  GroupNormGradient g =
                      group_norm_backward(dout, x(), groups, weight(), statistics, need[0], need[1], need[2]);
                  return {g.dx, g.dweight, g.dbias};
                });
}

}  // namespace pyformer
