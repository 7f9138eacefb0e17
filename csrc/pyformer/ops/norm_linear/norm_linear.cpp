#include "pyformer/ops/norm_linear/norm_linear.h"

#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/core/precision.h"
#include "pyformer/ops/layer_norm/layer_norm.h"
#include "pyformer/ops/linear/linear.h"
#include "pyformer/ops/rms_norm/rms_norm.h"

namespace pyformer {

NormKind norm_kind_from_name(const std::string& wanted) {
  constexpr const char* names[] = {"none", "layer", "rms"};
  for (int i = 0; i < 3; ++i)
    if (wanted == names[i]) return NormKind(i);
  throw ValueError(cat("norm: expected none, layer or rms, got '", wanted, "'"));
}

NormResult norm_forward(const Norm& norm, const Array& x, const Array& weight, const Array& bias) {
  if (bias.defined() && norm.kind != NormKind::layer) throw ValueError("norm: only layer_norm takes a bias");
  if (weight.defined() && norm.kind == NormKind::none) throw ValueError("norm: a weight without a norm");
  if (norm.kind == NormKind::none) return {x, {}};
  if (norm.kind == NormKind::rms) {
    RmsNormResult r = rms_norm_forward(x, weight, norm.eps);
    return {r.out, r.statistics};
  }
  LayerNormResult r = layer_norm_forward(x, weight, bias, norm.eps);
  return {r.out, r.statistics};
}

NormGradient norm_backward(const Norm& norm, const Array& dout, const Array& x, const Array& weight,
                           const NormResult& forward, bool need_dx, bool need_dweight, bool need_dbias) {
  if (!need_dx && !need_dweight && !need_dbias) return {};
  if (norm.kind == NormKind::none) return {dout, {}, {}};
  if (norm.kind == NormKind::rms) {
    RmsNormGradient g = rms_norm_backward(dout, x, weight, forward.statistics, need_dx, need_dweight);
    return {g.dx, g.dweight, {}};
  }
  LayerNormGradient g = layer_norm_backward(dout, x, weight, forward.statistics, need_dx, need_dweight, need_dbias);
  return {g.dx, g.dweight, g.dbias};
}

// (1) n, statistics     = norm(x)                     again, the same bits
// (2) dn, dweight, dbias = linear's gradients at n
// (3) dx, dnorm_weight, dnorm_bias = norm's gradients of dn
Tensor norm_linear(const Norm& norm, const Tensor& x, const Tensor& norm_weight, const Tensor& norm_bias,
                   const Tensor& weight, const Tensor& bias) {
  if (has_narrow({x, norm_weight, norm_bias, bias}))
    return norm_linear(norm, widened(x), widened(norm_weight), widened(norm_bias), weight, widened(bias));
  const Array n = product_operand(norm_forward(norm, x.array(), norm_weight.array(), norm_bias.array()).out);
  const Array w = product_operand(weight);
  const Array out = linear_forward(n, w, bias.array(), Activation::none, {}, false, product_result(n)).out;
  return record("norm_linear", {x, norm_weight, norm_bias, weight, bias}, out,
                [norm, x = save(x), norm_weight = save(norm_weight), norm_bias = save(norm_bias), weight = save(w)](
                    const Array& dout, const Needs& need) -> Gradients {
                  const NormResult again = norm_forward(norm, x(), norm_weight(), norm_bias());  // (1)
                  const bool need_dn = need[0] || need[1] || need[2];
                  LinearGradient g = linear_backward(dout, cast(again.out, weight().dtype()), weight(), {},
                                                     Activation::none, need_dn, need[3], need[4]);  // (2)
                  NormGradient d =
                      norm_backward(norm, g.dx, x(), norm_weight(), again, need[0], need[1], need[2]);  // (3)
                  return {d.dx, d.dweight, d.dbias, g.dweight, g.dbias};
                });
}

}  // namespace pyformer
