#include "pyformer/ops/cfc/cfc.h"

#include "pyformer/base/run.h"
#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/core/precision.h"
#include "pyformer/ops/cfc/cfc_kernels.h"
#include "pyformer/ops/linear/linear.h"

namespace pyformer {

static void check_elapsed(const Array& elapsed, const Array& x) {
  if (!elapsed.defined()) return;
  check_alike("cfc", "elapsed", elapsed, "x", x);
  const Shape expected = {x.dim(0), x.dim(1)};
  if (!(elapsed.shape() == expected))
    throw ValueError(cat("cfc: elapsed must be (B, T) = ", expected.str(), ", got ", elapsed.shape().str()));
}

CfcResult cfc_forward(const RecurrentOperands& operands, const Array& elapsed, bool reverse) {
  const RecurrentShape s = check_recurrent("cfc", operands, 3, reverse);
  check_elapsed(elapsed, operands.x);
  const RecurrentOperands in = wide(operands);
  CfcResult r;
  r.gates = linear_forward(in.x, in.w_ih, in.b_ih, Activation::none, {}, false, products_dtype(in), in.x.dtype()).out;
  r.out = in.x.like({s.batch, s.steps, s.hidden});
  const Array h_first = state_or_zeros(in.h0, s, in.x), wide_elapsed = wide(elapsed);
  run("cfc", &CfcTable::forward, in.x,
      CfcWalk{s, in.x.dtype(), in.w_hh.raw(), in.b_hh.raw(), h_first.raw(), wide_elapsed.raw(), r.gates.raw(),
              r.out.raw()});
  r.h_last = step_copy(r.out, s.time(s.steps - 1));
  return r;
}

CfcGradient cfc_backward(const Array& dout, const Array& dh_last, const RecurrentOperands& operands,
                         const Array& elapsed, bool reverse, const CfcResult& r, const Needs& need) {
  const RecurrentOperands in = wide(operands);
  const RecurrentShape s = {in.x.dim(0), in.x.dim(1), in.w_hh.dim(1), 3, reverse, in.rounds};
  const Array dgates = in.x.like(r.gates.shape()), dh = wide_copy(dh_last);
  const Array wide_dout = wide(dout), wide_elapsed = wide(elapsed);
  run("cfc", &CfcTable::backward, in.x,
      CfcWalkBackward{s, in.x.dtype(), in.w_hh.raw(), wide_elapsed.raw(), r.gates.raw(), wide_dout.raw(), dh.raw(),
                      dgates.raw()});
  LinearGradient inputs = linear_backward(dgates, in.x, in.w_ih, {}, Activation::none, need[0], need[1],
                                          need[3] || need[4], products_dtype(in));
  CfcGradient g = {inputs.dx, inputs.dweight, {}, {}, {}, {}};
  if (need[2]) {
    const Array previous = previous_states(r.out, state_or_zeros(in.h0, s, in.x), s);
    g.dw_hh = linear_backward(dgates, previous, in.w_hh, {}, Activation::none, false, true, false, products_dtype(in))
                  .dweight;
  }
  if (need[3]) g.db_ih = inputs.dbias;
  if (need[4]) g.db_hh = need[3] ? inputs.dbias.copy() : inputs.dbias;
  if (need[5]) g.dh0 = dh;
  return g;
}

std::vector<Tensor> cfc(const Tensor& x, const Tensor& w_ih, const Tensor& w_hh, const Tensor& b_ih, const Tensor& b_hh,
                        const Tensor& elapsed, const Tensor& h0, bool reverse) {
  if (has_narrow({x, w_ih, w_hh, b_ih, b_hh, elapsed, h0}))
    return cfc(widened(x), widened(w_ih), widened(w_hh), widened(b_ih), widened(b_hh), widened(elapsed), widened(h0),
               reverse);
  if (needs_recording({elapsed})) throw ValueError("cfc: elapsed has no gradient; expected it detached");
  const bool rounds = rounds_products(x);
  const RecurrentOperands in = {x.array(), w_ih.array(), w_hh.array(), b_ih.array(), b_hh.array(), h0.array(), rounds};
  const CfcResult r = cfc_forward(in, elapsed.array(), reverse);
  return record_outputs(
      "cfc", {x, w_ih, w_hh, b_ih, b_hh, h0}, {cast(r.out, x.dtype()), r.h_last},
      [x = save(x), w_ih = save(w_ih), w_hh = save(w_hh), h0 = save(h0), elapsed = save(elapsed), out = save(r.out),
       gates = r.gates, reverse, rounds](const std::vector<Array>& douts, const Needs& need) -> Gradients {
        const RecurrentOperands in = {x(), w_ih(), w_hh(), {}, {}, h0(), rounds};
        CfcGradient g = cfc_backward(douts[0], douts[1], in, elapsed(), reverse, {out(), {}, gates}, need);
        return {g.dx, g.dw_ih, g.dw_hh, g.db_ih, g.db_hh, g.dh0};
      });
}

}  // namespace pyformer
