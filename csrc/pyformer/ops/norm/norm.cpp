#include "pyformer/ops/norm/norm.h"

#include "pyformer/ops/layer_norm/layer_norm.h"
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

}  // namespace pyformer
