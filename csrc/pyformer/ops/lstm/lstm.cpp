#include "pyformer/ops/lstm/lstm.h"

#include "pyformer/base/run.h"
#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/core/precision.h"
#include "pyformer/ops/linear/linear.h"
#include "pyformer/ops/lstm/lstm_kernels.h"

namespace pyformer {

LstmResult lstm_forward(const RecurrentOperands& operands, const Array& c0, bool reverse, const Lengths& lengths) {
  const RecurrentShape s = check_recurrent("lstm", operands, 4, reverse);
  check_lengths("lstm", lengths, s);
  check_state("lstm", "c0", c0, operands.x, s.hidden);
  const RecurrentOperands in = wide(operands);
  const Shape states = {s.batch, s.steps, s.hidden};
  LstmResult r;
  r.gates = linear_forward(in.x, in.w_ih, in.b_ih, Activation::none, {}, false, products_dtype(in), in.x.dtype()).out;
  r.out = in.x.like(states);
  r.cells = in.x.like(states);
  const Array h_first = state_or_zeros(in.h0, s, in.x), c_first = state_or_zeros(wide(c0), s, in.x);
  run("lstm", &LstmTable::forward, in.x,
      LstmWalk{s, in.x.dtype(), in.w_hh.raw(), in.b_hh.raw(), h_first.raw(), c_first.raw(), r.gates.raw(),
               r.cells.raw(), r.out.raw()});
  r.h_last = last_states(r.out, lengths, s);
  r.c_last = last_states(r.cells, lengths, s);
  return r;
}

LstmGradient lstm_backward(const Array& dout, const Array& dh_last, const Array& dc_last,
                           const RecurrentOperands& operands, const Array& c0, bool reverse, const Lengths& lengths,
                           const LstmResult& r, const Needs& need) {
  const RecurrentOperands in = wide(operands);
  const RecurrentShape s = {in.x.dim(0), in.x.dim(1), in.w_hh.dim(1), 4, reverse, in.rounds};
  const Array dgates = in.x.like(r.gates.shape()), wide_dout = wide(dout);
  const Array dh_end = wide(dh_last), dc_end = wide(dc_last), zeros = in.x.zeros_like(dh_last.shape());
  const Array dh = lengths.empty() ? wide_copy(dh_last) : zeros,
              dc = lengths.empty() ? wide_copy(dc_last) : zeros.copy();
  const Array c_first = state_or_zeros(wide(c0), s, in.x);
  run("lstm", &LstmTable::backward, in.x,
      LstmWalkBackward{s, in.x.dtype(), in.w_hh.raw(), c_first.raw(), r.gates.raw(), r.cells.raw(), wide_dout.raw(),
                       dh.raw(), dc.raw(), dgates.raw(), lengths.empty() ? nullptr : lengths.data(), dh_end.raw(),
                       dc_end.raw()});
  LstmGradient g;
  LinearGradient inputs = linear_backward(dgates, in.x, in.w_ih, {}, Activation::none, need[0], need[1],
                                          need[3] || need[4], products_dtype(in));
  g.dx = inputs.dx;
  g.dw_ih = inputs.dweight;
  if (need[2]) {
    const Array previous = previous_states(r.out, state_or_zeros(in.h0, s, in.x), s);
    g.dw_hh = linear_backward(dgates, previous, in.w_hh, {}, Activation::none, false, true, false, products_dtype(in))
                  .dweight;
  }
  if (need[3]) g.db_ih = inputs.dbias;
  if (need[4]) g.db_hh = need[3] ? inputs.dbias.copy() : inputs.dbias;
  if (need[5]) g.dh0 = dh;
  if (need[6]) g.dc0 = dc;
  return g;
}

std::vector<Tensor> lstm(const Tensor& x, const Tensor& w_ih, const Tensor& w_hh, const Tensor& b_ih,
                         const Tensor& b_hh, const Tensor& h0, const Tensor& c0, bool reverse, const Lengths& lengths) {
  if (has_narrow({x, w_ih, w_hh, b_ih, b_hh, h0, c0}))
    return lstm(widened(x), widened(w_ih), widened(w_hh), widened(b_ih), widened(b_hh), widened(h0), widened(c0),
                reverse, lengths);
  const bool rounds = rounds_products(x);
  const RecurrentOperands in = {x.array(), w_ih.array(), w_hh.array(), b_ih.array(), b_hh.array(), h0.array(), rounds};
  const LstmResult r = lstm_forward(in, c0.array(), reverse, lengths);
  return record_outputs("lstm", {x, w_ih, w_hh, b_ih, b_hh, h0, c0}, {cast(r.out, x.dtype()), r.h_last, r.c_last},
                        [x = save(x), w_ih = save(w_ih), w_hh = save(w_hh), h0 = save(h0), c0 = save(c0),
                         out = save(r.out), gates = r.gates, cells = r.cells, reverse, lengths,
                         rounds](const std::vector<Array>& douts, const Needs& need) -> Gradients {
                          const RecurrentOperands in = {x(), w_ih(), w_hh(), {}, {}, h0(), rounds};
                          const LstmResult r = {out(), {}, {}, gates, cells};
                          LstmGradient g =
                              lstm_backward(douts[0], douts[1], douts[2], in, c0(), reverse, lengths, r, need);
                          return {g.dx, g.dw_ih, g.dw_hh, g.db_ih, g.db_hh, g.dh0, g.dc0};
                        });
}

}  // namespace pyformer
