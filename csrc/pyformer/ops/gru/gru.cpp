#include "pyformer/ops/gru/gru.h"

#include "pyformer/base/dispatch.h"
#include "pyformer/ops/gru/gru_kernels.h"
#include "pyformer/ops/linear/linear.h"

namespace pyformer {

static const KernelSets<GruKernels>& sets() {
  static const auto sets = kernel_sets<GruKernels>([]<Isa isa>() { return &gru_kernels<isa>(); });
  return sets;
}

GruResult gru_forward(const RecurrentOperands& in, bool reverse) {
  const RecurrentShape s = check_recurrent("gru", in, 3, reverse);
  const DType dtype = in.x.dtype();
  const auto kernel = find_kernel("gru", sets(), &GruKernels::forward, dtype);
  GruResult r;
  r.gates = linear_forward(in.x, in.w_ih, in.b_ih, Activation::none, {}, false).out;
  r.out = Array::empty({s.batch, s.steps, s.hidden}, dtype);
  r.candidates = Array::empty(r.out.shape(), dtype);
  recur(s, r.out, state_or_zeros(in.h0, s, dtype), in.w_hh, in.b_hh,
        [&](int64_t t, const StepRows& previous, const Array& recurrent, int64_t begin, int64_t end) {
          const GruForward args = {s.hidden,
                                   {recurrent.raw(), 3 * s.hidden},
                                   step_rows(r.gates, t),
                                   step_rows(r.candidates, t),
                                   previous,
                                   step_rows(r.out, t)};
          kernel(args, begin, end);
        });
  r.h_last = step_copy(r.out, s.time(s.steps - 1));
  return r;
}

GruGradient gru_backward(const Array& dout, const Array& dh_last, const RecurrentOperands& in, bool reverse,
                         const GruResult& r, const Needs& need) {
  const RecurrentShape s = {in.x.dim(0), in.x.dim(1), in.w_hh.dim(1), 3, reverse};
  const DType dtype = in.x.dtype();
  const auto kernel = find_kernel("gru", sets(), &GruKernels::backward, dtype);
  const Array du = Array::empty(r.gates.shape(), dtype), dv = Array::empty(r.gates.shape(), dtype);
  const Array dh = dh_last.copy(), h_first = state_or_zeros(in.h0, s, dtype);
  recur_backward(s, dv, in.w_hh, dh, true, [&](int64_t t, int64_t step, int64_t begin, int64_t end) {
    const StepRows previous = step == 0 ? StepRows{h_first.raw(), s.hidden} : step_rows(r.out, reverse ? t + 1 : t - 1);
    const GruBackward args = {s.hidden,           step_rows(r.gates, t), step_rows(r.candidates, t), previous,
                              step_rows(dout, t), {dh.raw(), s.hidden},  step_rows(du, t),           step_rows(dv, t)};
    kernel(args, begin, end);
  });
  LinearGradient inputs = linear_backward(du, in.x, in.w_ih, {}, Activation::none, need[0], need[1], need[3]);
  GruGradient g = {inputs.dx, inputs.dweight, {}, inputs.dbias, {}, {}};
  if (need[2] || need[4]) {
    const Array previous = previous_states(r.out, h_first, s);
    LinearGradient recurrent = linear_backward(dv, previous, in.w_hh, {}, Activation::none, false, need[2], need[4]);
    g.dw_hh = recurrent.dweight;
    g.db_hh = recurrent.dbias;
  }
  if (need[5]) g.dh0 = dh;
  return g;
}

std::vector<Tensor> gru(const Tensor& x, const Tensor& w_ih, const Tensor& w_hh, const Tensor& b_ih, const Tensor& b_hh,
                        const Tensor& h0, bool reverse) {
  const RecurrentOperands in = {x.array(), w_ih.array(), w_hh.array(), b_ih.array(), b_hh.array(), h0.array()};
  const GruResult r = gru_forward(in, reverse);
  return record_outputs(
      "gru", {x, w_ih, w_hh, b_ih, b_hh, h0}, {r.out, r.h_last},
      [x = save(x), w_ih = save(w_ih), w_hh = save(w_hh), h0 = save(h0), out = save(r.out), gates = r.gates,
       candidates = r.candidates, reverse](const std::vector<Array>& douts, const Needs& need) -> Gradients {
        const RecurrentOperands in = {x(), w_ih(), w_hh(), {}, {}, h0()};
        GruGradient g = gru_backward(douts[0], douts[1], in, reverse, {out(), {}, gates, candidates}, need);
        return {g.dx, g.dw_ih, g.dw_hh, g.db_ih, g.db_hh, g.dh0};
      });
}

}  // namespace pyformer
