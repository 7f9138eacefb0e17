#include "pyformer/ops/layer_norm/layer_norm.h"

#include "pyformer/core/precision.h"
#include "pyformer/ops/norm/norm.h"

namespace pyformer {

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
  if (has_narrow({x, weight, bias})) return layer_norm(widened(x), widened(weight), widened(bias), eps);
  const Norm norm = {NormKind::layer, eps};
  const NormResult r = norm_forward(norm, x.array(), weight.array(), bias.array());
  return record("layer_norm", {x, weight, bias}, r.out,
                [norm, x = save(x), weight = save(weight), statistics = r.statistics](const Array& dout,
                                                                                      const Needs& need) -> Gradients {
                  NormGradient g = norm_backward(norm, dout, x(), weight(), statistics, need[0], need[1], need[2]);
                  return {g.dx, g.dweight, g.dbias};
                });
}

}  // namespace pyformer
