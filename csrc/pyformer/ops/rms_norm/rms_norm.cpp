#include "pyformer/ops/rms_norm/rms_norm.h"

#include "pyformer/core/precision.h"
#include "pyformer/ops/norm/norm.h"

namespace pyformer {

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  if (has_narrow({x, weight})) return rms_norm(widened(x), widened(weight), eps);
  const Norm norm = {NormKind::rms, eps};
  const NormResult r = norm_forward(norm, x.array(), weight.array(), {});
  return record("rms_norm", {x, weight}, r.out,
                [norm, x = save(x), weight = save(weight), statistics = r.statistics](const Array& dout,
                                                                                      const Needs& need) -> Gradients {
                  NormGradient g = norm_backward(norm, dout, x(), weight(), statistics, need[0], need[1], false);
                  return {g.dx, g.dweight};
                });
}

}  // namespace pyformer
