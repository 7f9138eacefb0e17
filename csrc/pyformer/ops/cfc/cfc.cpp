#include "pyformer/ops/cfc/cfc.h"

#include "pyformer/base/dispatch.h"
#include "pyformer/ops/cfc/cfc_kernels.h"
#include "pyformer/ops/linear/linear.h"

namespace pyformer {

static const KernelSets<CfcKernels>& sets() {
  static const auto sets = kernel_sets<CfcKernels>([]<Isa isa>() { return &cfc_kernels<isa>(); });
  return sets;
}

static void check_elapsed(const Array& elapsed, const Array& x) {
  if (!elapsed.defined()) return;
  if (elapsed.dtype() != x.dtype())
    throw TypeError(cat("cfc: elapsed must be ", name(x.dtype()), " as x is, got ", name(elapsed.dtype())));
  const Shape expected = {x.dim(0), x.dim(1)};
  if (!(elapsed.shape() == expected))
    throw ValueError(cat("cfc: elapsed must be (B, T) = ", expected.str(), ", got ", elapsed.shape().str()));
}

static StepRows elapsed_rows(const Array& elapsed, int64_t t) {
  if (!elapsed.defined()) return {};
  return {static_cast<char*>(elapsed.raw()) + t * item_bytes(elapsed.dtype()), elapsed.dim(1)};
}

CfcResult cfc_forward(const RecurrentOperands& in, const Array& elapsed, bool reverse) {
  const RecurrentShape s = check_recurrent("cfc", in, 3, reverse);
  check_elapsed(elapsed, in.x);
  const DType dtype = in.x.dtype();
  const auto kernel = find_kernel("cfc", sets(), &CfcKernels::forward, dtype);
  CfcResult r;
  r.gates = linear_forward(in.x, in.w_ih, in.b_ih, Activation::none, {}, false).out;
  r.out = Array::empty({s.batch, s.steps, s.hidden}, dtype);
  recur(s, r.out, state_or_zeros(in.h0, s, dtype), in.w_hh, in.b_hh,
        [&](int64_t t, const StepRows&, const Array& recurrent, int64_t begin, int64_t end) {
          const CfcForward args = {s.hidden,
                                   {recurrent.raw(), 3 * s.hidden},
                                   step_rows(r.gates, t),
                                   elapsed_rows(elapsed, t),
                                   step_rows(r.out, t)};
          kernel(args, begin, end);
        });
  r.h_last = step_copy(r.out, s.time(s.steps - 1));
  return r;
}

CfcGradient cfc_backward(const Array& dout, const Array& dh_last, const RecurrentOperands& in, const Array& elapsed,
                         bool reverse, const CfcResult& r, const Needs& need) {
  const RecurrentShape s = {in.x.dim(0), in.x.dim(1), in.w_hh.dim(1), 3, reverse};
  const DType dtype = in.x.dtype();
  const auto kernel = find_kernel("cfc", sets(), &CfcKernels::backward, dtype);
  const Array dgates = Array::empty(r.gates.shape(), dtype), dh = dh_last.copy();
  recur_backward(s, dgates, in.w_hh, dh, false, [&](int64_t t, int64_t, int64_t begin, int64_t end) {
    const CfcBackward args = {s.hidden,           step_rows(r.gates, t), elapsed_rows(elapsed, t),
                              step_rows(dout, t), {dh.raw(), s.hidden},  step_rows(dgates, t)};
    kernel(args, begin, end);
  });
  LinearGradient inputs =
      linear_backward(dgates, in.x, in.w_ih, {}, Activation::none, need[0], need[1], need[3] || need[4]);
  CfcGradient g = {inputs.dx, inputs.dweight, {}, {}, {}, {}};
  if (need[2]) {
    const Array previous = previous_states(r.out, state_or_zeros(in.h0, s, dtype), s);
    g.dw_hh = linear_backward(dgates, previous, in.w_hh, {}, Activation::none, false, true, false).dweight;
  }
  if (need[3]) g.db_ih = inputs.dbias;
  if (need[4]) g.db_hh = need[3] ? inputs.dbias.copy() : inputs.dbias;
  if (need[5]) g.dh0 = dh;
  return g;
}

std::vector<Tensor> cfc(const Tensor& x, const Tensor& w_ih, const Tensor& w_hh, const Tensor& b_ih, const Tensor& b_hh,
                        const Tensor& elapsed, const Tensor& h0, bool reverse) {
  if (needs_recording({elapsed})) throw ValueError("cfc: elapsed has no gradient; expected it detached");
  const RecurrentOperands in = {x.array(), w_ih.array(), w_hh.array(), b_ih.array(), b_hh.array(), h0.array()};
  const CfcResult r = cfc_forward(in, elapsed.array(), reverse);
  return record_outputs(
      "cfc", {x, w_ih, w_hh, b_ih, b_hh, h0}, {r.out, r.h_last},
      [x = save(x), w_ih = save(w_ih), w_hh = save(w_hh), h0 = save(h0), elapsed = save(elapsed), out = save(r.out),
       gates = r.gates, reverse](const std::vector<Array>& douts, const Needs& need) -> Gradients {
        const RecurrentOperands in = {x(), w_ih(), w_hh(), {}, {}, h0()};
        CfcGradient g = cfc_backward(douts[0], douts[1], in, elapsed(), reverse, {out(), {}, gates}, need);
        return {g.dx, g.dw_ih, g.dw_hh, g.db_ih, g.db_hh, g.dh0};
      });
}

}  // namespace pyformer
