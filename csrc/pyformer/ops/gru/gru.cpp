#include "pyformer/ops/gru/gru.h"

#include "pyformer/base/run.h"
#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/core/precision.h"
#include "pyformer/ops/gru/gru_kernels.h"
#include "pyformer/ops/linear/linear.h"

namespace pyformer {

GruResult gru_forward(const RecurrentOperands& operands, bool reverse) {
  const RecurrentShape s = check_recurrent("gru", operands, 3, reverse);
  const RecurrentOperands in = wide(operands);
  GruResult r;
  r.gates = linear_forward(in.x, in.w_ih, in.b_ih, Activation::none, {}, false, products_dtype(in), in.x.dtype()).out;
  r.out = in.x.like({s.batch, s.steps, s.hidden});
  r.candidates = in.x.like(r.out.shape());
  const Array h_first = state_or_zeros(in.h0, s, in.x);
  run("gru", &GruTable::forward, in.x,
      GruWalk{s, in.x.dtype(), in.w_hh.raw(), in.b_hh.raw(), h_first.raw(), r.gates.raw(), r.candidates.raw(),
              r.out.raw()});
  r.h_last = step_copy(r.out, s.time(s.steps - 1));
  return r;
}

GruGradient gru_backward(const Array& dout, const Array& dh_last, const RecurrentOperands& operands, bool reverse,
                         const GruResult& r, const Needs& need) {
  const RecurrentOperands in = wide(operands);
  const RecurrentShape s = {in.x.dim(0), in.x.dim(1), in.w_hh.dim(1), 3, reverse, in.rounds};
  const Array du = in.x.like(r.gates.shape()), dv = in.x.like(r.gates.shape()), wide_dout = wide(dout);
  const Array dh = wide_copy(dh_last), h_first = state_or_zeros(in.h0, s, in.x);
  run("gru", &GruTable::backward, in.x,
      GruWalkBackward{s, in.x.dtype(), in.w_hh.raw(), h_first.raw(), r.gates.raw(), r.candidates.raw(), r.out.raw(),
                      wide_dout.raw(), dh.raw(), du.raw(), dv.raw()});
  LinearGradient inputs =
      linear_backward(du, in.x, in.w_ih, {}, Activation::none, need[0], need[1], need[3], products_dtype(in));
  GruGradient g = {inputs.dx, inputs.dweight, {}, inputs.dbias, {}, {}};
  if (need[2] || need[4]) {
    const Array previous = previous_states(r.out, h_first, s);
    LinearGradient recurrent =
        linear_backward(dv, previous, in.w_hh, {}, Activation::none, false, need[2], need[4], products_dtype(in));
    g.dw_hh = recurrent.dweight;
    g.db_hh = recurrent.dbias;
  }
  if (need[5]) g.dh0 = dh;
  return g;
}

std::vector<Tensor> gru(const Tensor& x, const Tensor& w_ih, const Tensor& w_hh, const Tensor& b_ih, const Tensor& b_hh,
                        const Tensor& h0, bool reverse) {
  if (has_narrow({x, w_ih, w_hh, b_ih, b_hh, h0}))
    return gru(widened(x), widened(w_ih), widened(w_hh), widened(b_ih), widened(b_hh), widened(h0), reverse);
  const bool rounds = rounds_products(x);
  const RecurrentOperands in = {x.array(), w_ih.array(), w_hh.array(), b_ih.array(), b_hh.array(), h0.array(), rounds};
  const GruResult r = gru_forward(in, reverse);
  return record_outputs(
      "gru", {x, w_ih, w_hh, b_ih, b_hh, h0}, {cast(r.out, x.dtype()), r.h_last},
      [x = save(x), w_ih = save(w_ih), w_hh = save(w_hh), h0 = save(h0), out = save(r.out), gates = r.gates,
       candidates = r.candidates, reverse, rounds](const std::vector<Array>& douts, const Needs& need) -> Gradients {
        const RecurrentOperands in = {x(), w_ih(), w_hh(), {}, {}, h0(), rounds};
        GruGradient g = gru_backward(douts[0], douts[1], in, reverse, {out(), {}, gates, candidates}, need);
        return {g.dx, g.dw_ih, g.dw_hh, g.db_ih, g.db_hh, g.dh0};
      });
}

}  // namespace pyformer
