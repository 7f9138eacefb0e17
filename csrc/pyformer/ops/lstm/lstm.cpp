#include "pyformer/ops/lstm/lstm.h"

#include "pyformer/base/dispatch.h"
#include "pyformer/ops/linear/linear.h"
#include "pyformer/ops/lstm/lstm_kernels.h"

namespace pyformer {

static const KernelSets<LstmKernels>& sets() {
  static const auto sets = kernel_sets<LstmKernels>([]<Isa isa>() { return &lstm_kernels<isa>(); });
  return sets;
}

LstmResult lstm_forward(const RecurrentOperands& in, const Array& c0, bool reverse) {
  const RecurrentShape s = check_recurrent("lstm", in, 4, reverse);
  check_state("lstm", "c0", c0, in.x, s.hidden);
  const DType dtype = in.x.dtype();
  const auto kernel = find_kernel("lstm", sets(), &LstmKernels::forward, dtype);
  const Shape states = {s.batch, s.steps, s.hidden};
  LstmResult r;
  r.gates = linear_forward(in.x, in.w_ih, in.b_ih, Activation::none, {}, false).out;
  r.out = Array::empty(states, dtype);
  r.cells = Array::empty(states, dtype);
  const Array h_first = state_or_zeros(in.h0, s, dtype), c_first = state_or_zeros(c0, s, dtype);
  const int64_t first = s.time(0), last = s.time(s.steps - 1);
  recur(s, r.out, h_first, in.w_hh, in.b_hh,
        [&](int64_t t, const StepRows&, const Array& recurrent, int64_t begin, int64_t end) {
          const StepRows c_previous =
              t == first ? StepRows{c_first.raw(), s.hidden} : step_rows(r.cells, reverse ? t + 1 : t - 1);
          const LstmForward args = {s.hidden,   {recurrent.raw(), 4 * s.hidden}, step_rows(r.gates, t),
                                    c_previous, step_rows(r.cells, t),           step_rows(r.out, t)};
          kernel(args, begin, end);
        });
  r.h_last = step_copy(r.out, last);
  r.c_last = step_copy(r.cells, last);
  return r;
}

LstmGradient lstm_backward(const Array& dout, const Array& dh_last, const Array& dc_last, const RecurrentOperands& in,
                           const Array& c0, bool reverse, const LstmResult& r, const Needs& need) {
  const RecurrentShape s = {in.x.dim(0), in.x.dim(1), in.w_hh.dim(1), 4, reverse};
  const DType dtype = in.x.dtype();
  const auto kernel = find_kernel("lstm", sets(), &LstmKernels::backward, dtype);
  const Array dgates = Array::empty(r.gates.shape(), dtype), dh = dh_last.copy(), dc = dc_last.copy();
  const Array c_first = state_or_zeros(c0, s, dtype);
  recur_backward(s, dgates, in.w_hh, dh, false, [&](int64_t t, int64_t step, int64_t begin, int64_t end) {
    const StepRows c_previous =
        step == 0 ? StepRows{c_first.raw(), s.hidden} : step_rows(r.cells, reverse ? t + 1 : t - 1);
    const LstmBackward args = {s.hidden,           step_rows(r.gates, t), c_previous,           step_rows(r.cells, t),
                               step_rows(dout, t), {dh.raw(), s.hidden},  {dc.raw(), s.hidden}, step_rows(dgates, t)};
    kernel(args, begin, end);
  });
  LstmGradient g;
  LinearGradient inputs =
      linear_backward(dgates, in.x, in.w_ih, {}, Activation::none, need[0], need[1], need[3] || need[4]);
  g.dx = inputs.dx;
  g.dw_ih = inputs.dweight;
  if (need[2]) {
    const Array previous = previous_states(r.out, state_or_zeros(in.h0, s, dtype), s);
    g.dw_hh = linear_backward(dgates, previous, in.w_hh, {}, Activation::none, false, true, false).dweight;
  }
  if (need[3]) g.db_ih = inputs.dbias;
  if (need[4]) g.db_hh = need[3] ? inputs.dbias.copy() : inputs.dbias;
  if (need[5]) g.dh0 = dh;
  if (need[6]) g.dc0 = dc;
  return g;
}

std::vector<Tensor> lstm(const Tensor& x, const Tensor& w_ih, const Tensor& w_hh, const Tensor& b_ih,
                         const Tensor& b_hh, const Tensor& h0, const Tensor& c0, bool reverse) {
  const RecurrentOperands in = {x.array(), w_ih.array(), w_hh.array(), b_ih.array(), b_hh.array(), h0.array()};
  const LstmResult r = lstm_forward(in, c0.array(), reverse);
  return record_outputs(
      "lstm", {x, w_ih, w_hh, b_ih, b_hh, h0, c0}, {r.out, r.h_last, r.c_last},
      [x = save(x), w_ih = save(w_ih), w_hh = save(w_hh), h0 = save(h0), c0 = save(c0), out = save(r.out),
       gates = r.gates, cells = r.cells, reverse](const std::vector<Array>& douts, const Needs& need) -> Gradients {
        const RecurrentOperands in = {x(), w_ih(), w_hh(), {}, {}, h0()};
        const LstmResult r = {out(), {}, {}, gates, cells};
        LstmGradient g = lstm_backward(douts[0], douts[1], douts[2], in, c0(), reverse, r, need);
        return {g.dx, g.dw_ih, g.dw_hh, g.db_ih, g.db_hh, g.dh0, g.dc0};
      });
}

}  // namespace pyformer
