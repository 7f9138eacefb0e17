#include "pyformer/ops/norm_linear/norm_linear.h"

#include "pyformer/core/precision.h"
#include "pyformer/ops/linear/linear.h"

namespace pyformer {

// (1) n, statistics     = norm(x)                     again, the same bits
// (2) dn, dweight, dbias = linear's gradients at n
// (3) dx, dnorm_weight, dnorm_bias = norm's gradients of dn
Tensor norm_linear(const Norm& norm, const Tensor& x, const Tensor& norm_weight, const Tensor& norm_bias,
                   const Tensor& weight, const Tensor& bias) {
  if (has_narrow({x, norm_weight, norm_bias, bias}))
    return norm_linear(norm, widened(x), widened(norm_weight), widened(norm_bias), weight, widened(bias));
  const Array n = unrounded_operand(norm_forward(norm, x.array(), norm_weight.array(), norm_bias.array()).out);
  const Array w = unrounded_operand(weight);
  const DType operands = operand_dtype(n.dtype());
  const Array out = linear_forward(n, w, bias.array(), Activation::none, {}, false, operands, product_result(n)).out;
  return record("norm_linear", {x, norm_weight, norm_bias, weight, bias}, out,
                [norm, x = save(x), norm_weight = save(norm_weight), norm_bias = save(norm_bias), weight = save(w),
                 operands](const Array& dout, const Needs& need) -> Gradients {
                  const NormResult again = norm_forward(norm, x(), norm_weight(), norm_bias());  // (1)
                  const bool need_dn = need[0] || need[1] || need[2];
                  LinearGradient g = linear_backward(dout, again.out, weight(), {}, Activation::none, need_dn, need[3],
                                                     need[4], operands);  // (2)
                  NormGradient d = norm_backward(norm, g.dx, x(), norm_weight(), again.statistics, need[0], need[1],
                                                 need[2]);  // (3)
                  return {d.dx, d.dweight, d.dbias, g.dweight, g.dbias};
                });
}

}  // namespace pyformer
