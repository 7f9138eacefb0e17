#include "pyformer/ops/mlp/mlp.h"

#include "pyformer/core/precision.h"

namespace pyformer {

namespace {

// (dout down) * slope, in the store of the product; `like` has its shape and dtype.
Array gradient_before(const Array& dout, const Array& down, const Array& like, const void* slope, DType operands) {
  const Array dpre = like.like(like.shape());
  Gemm g;
  g.dtype = operands;
  g.wide_c = like.dtype() != operands;
  g.n = down.dim(1);
  g.k = down.dim(0);
  g.m = rows_of(like);
  g.a = operand_of(dout, g.k, false, operands);
  g.b = operand_of(down, g.n, false, operands);
  g.c = dpre.raw();
  g.c_stride = g.n;
  g.epilogue.factor = slope;
  run("mlp", &GemmTable::multiply, down.device(), operands, g);
  return dpre;
}

struct MlpSaved {
  Norm norm;
  Activation activation;
  Saved x, norm_weight, norm_bias, up, down;
  Array pre;
  DType operands;  // of the products
};

// (1) h = activation(pre) again, the same bits, and activation'(pre) in the place of pre
// (2) ddown = dout^T h, ddown_bias = sum of dout
// (3) dpre = (dout down) * activation'(pre)
// (4) n = norm(x) again
// (5) dup = dpre^T n, dup_bias = sum of dpre, dn = dpre up
// (6) dx, dnorm_weight, dnorm_bias: norm's gradients of dn
Gradients mlp_backward(const MlpSaved& s, const Array& dout, const Needs& need) {
  const bool acts = s.activation != Activation::none, need_dn = need[0] || need[1] || need[2];
  const bool need_dpre = need_dn || need[3] || need[4];
  Array h = s.pre;
  if (acts && (need[5] || need_dpre)) h = activation_forward_("mlp", s.pre, s.activation);  // (1)
  LinearGradient down;
  if (need[5] || need[6])
    down = linear_backward(dout, h, s.down(), {}, Activation::none, false, need[5], need[6], s.operands);  // (2)

  h = Array();  // (3) may have its memory
  LinearGradient up;
  NormGradient norm;
  if (need_dpre) {
    const Array dpre = gradient_before(dout, s.down(), s.pre, acts ? s.pre.raw() : nullptr, s.operands);         // (3)
    const NormResult again = norm_forward(s.norm, s.x(), s.norm_weight(), s.norm_bias());                        // (4)
    up = linear_backward(dpre, again.out, s.up(), {}, Activation::none, need_dn, need[3], need[4], s.operands);  // (5)
    norm = norm_backward(s.norm, up.dx, s.x(), s.norm_weight(), again.statistics, need[0], need[1], need[2]);    // (6)
  }
  return {norm.dx, norm.dweight, norm.dbias, up.dweight, up.dbias, down.dweight, down.dbias, need[7] ? dout : Array()};
}

}  // namespace

Tensor mlp(const MlpInputs& in, const Norm& norm, Activation activation) {
  if (has_narrow({in.x, in.norm_weight, in.norm_bias, in.up_bias, in.down_bias, in.residual}))
    return mlp({widened(in.x), widened(in.norm_weight), widened(in.norm_bias), in.up, widened(in.up_bias), in.down,
                widened(in.down_bias), widened(in.residual)},
               norm, activation);
  const std::vector<Tensor> inputs = {in.x,       in.norm_weight, in.norm_bias, in.up,
                                      in.up_bias, in.down,        in.down_bias, in.residual};
  const bool recorded =
      needs_recording({in.x, in.norm_weight, in.norm_bias, in.up, in.up_bias, in.down, in.down_bias, in.residual});
  const Array w_up = unrounded_operand(in.up), w_down = unrounded_operand(in.down);
  const Array n = unrounded_operand(norm_forward(norm, in.x.array(), in.norm_weight.array(), in.norm_bias.array()).out);
  const DType wanted = product_result(n), operands = operand_dtype(n.dtype());
  LinearResult up = linear_forward(n, w_up, in.up_bias.array(), activation, {}, recorded, operands, wanted);
  const Array out = linear_forward(up.out, w_down, in.down_bias.array(), Activation::none, in.residual.array(), false,
                                   operands, wanted)
                        .out;
  if (!recorded) return no_gradient(out);
  MlpSaved saved = {norm,
                    activation,
                    save(in.x),
                    save(in.norm_weight),
                    save(in.norm_bias),
                    save(w_up),
                    save(w_down),
                    activation == Activation::none ? up.out : up.preactivation,
                    operands};
  return record("mlp", inputs, out, [saved = std::move(saved)](const Array& dout, const Needs& need) {
    return mlp_backward(saved, dout, need);
  });
}

}  // namespace pyformer
