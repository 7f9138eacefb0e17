#include "pyformer/ops/mlp/mlp.h"

namespace pyformer {

namespace {

// (dout down) * slope, in the store of the product; `like` has its shape.
Array gradient_before(const Array& dout, const Array& down, const Array& like, const void* slope) {
  const Array dpre = like.like(like.shape());
  Gemm g;
  g.dtype = like.dtype();
  g.n = down.dim(1);
  g.k = down.dim(0);
  g.m = rows_of(like);
  g.a = {dout.raw(), g.k, false};
  g.b = {down.raw(), g.n, false};
  g.c = dpre.raw();
  g.c_stride = g.n;
  g.epilogue.factor = slope;
  run("mlp", &GemmTable::multiply, like, g);
  return dpre;
}

struct MlpSaved {
  Norm norm;
  Activation activation;
  Saved x, norm_weight, norm_bias, up, down;
  Array pre;
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
    down = linear_backward(dout, h, s.down(), {}, Activation::none, false, need[5], need[6]);  // (2)

  h = Array();  // (3) may have its memory
  LinearGradient up;
  NormGradient norm;
  if (need_dpre) {
    const Array dpre = gradient_before(dout, s.down(), s.pre, acts ? s.pre.raw() : nullptr);         // (3)
    const NormResult again = norm_forward(s.norm, s.x(), s.norm_weight(), s.norm_bias());            // (4)
    up = linear_backward(dpre, again.out, s.up(), {}, Activation::none, need_dn, need[3], need[4]);  // (5)
    norm = norm_backward(s.norm, up.dx, s.x(), s.norm_weight(), again, need[0], need[1], need[2]);   // (6)
  }
  return {norm.dx, norm.dweight, norm.dbias, up.dweight, up.dbias, down.dweight, down.dbias, need[7] ? dout : Array()};
}

}  // namespace

Tensor mlp(const MlpInputs& in, const Norm& norm, Activation activation) {
  const std::vector<Tensor> inputs = {in.x,       in.norm_weight, in.norm_bias, in.up,
                                      in.up_bias, in.down,        in.down_bias, in.residual};
  const bool recorded =
      needs_recording({in.x, in.norm_weight, in.norm_bias, in.up, in.up_bias, in.down, in.down_bias, in.residual});
  const Array n = norm_forward(norm, in.x.array(), in.norm_weight.array(), in.norm_bias.array()).out;
  LinearResult up = linear_forward(n, in.up.array(), in.up_bias.array(), activation, {}, recorded);
  const Array out =
      linear_forward(up.out, in.down.array(), in.down_bias.array(), Activation::none, in.residual.array(), false).out;
  if (!recorded) return no_gradient(out);
  MlpSaved saved = {norm,
                    activation,
                    save(in.x),
                    save(in.norm_weight),
                    save(in.norm_bias),
                    save(in.up),
                    save(in.down),
                    activation == Activation::none ? up.out : up.preactivation};
  return record("mlp", inputs, out, [saved = std::move(saved)](const Array& dout, const Needs& need) {
    return mlp_backward(saved, dout, need);
  });
}

}  // namespace pyformer
