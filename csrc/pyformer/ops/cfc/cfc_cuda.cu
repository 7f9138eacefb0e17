// cfc: the formulas of cfc_rows.h with a thread for each element of a step.
#include "pyformer/ops/cfc/cfc_rows.h"
#include "pyformer/ops/recurrent/recurrent_cuda.h"

namespace pyformer::cuda {

struct CfcCell {
  using Args = CfcForward;
  static DEVICE void at(const Args& a, int64_t row, int64_t j) { cfc_forward_strip<float>(a, row, j, 1); }
};
struct CfcGradientCell {
  using Args = CfcBackward;
  static DEVICE void at(const Args& a, int64_t row, int64_t j) { cfc_backward_strip<float>(a, row, j, 1); }
};

template <class Walk>
static StepRows elapsed_of(const Walk& a, int64_t t) {
  return a.elapsed ? step_of(a.elapsed, a.s, t, 1) : StepRows{};
}

static void cfc_forward(const CfcWalk& a) {
  const RecurrentShape& s = a.s;
  const int64_t H = s.hidden;
  recur(a, [&](int64_t t, const StepRows&, const StepRows& recurrent) {
    start_step<CfcCell>(s, {H, recurrent, step_of(a.gates, s, t, 3 * H), elapsed_of(a, t), step_of(a.out, s, t, H)});
  });
}

static void cfc_backward(const CfcWalkBackward& a) {
  const RecurrentShape& s = a.s;
  const int64_t H = s.hidden;
  recur_backward(a, a.dgates, false, [&](int64_t t) {
    start_step<CfcGradientCell>(s, {H,
                                    step_of(a.gates, s, t, 3 * H),
                                    elapsed_of(a, t),
                                    step_of(a.dout, s, t, H),
                                    {a.dh, H},
                                    step_of(a.dgates, s, t, 3 * H)});
  });
}

template <>
const CfcTable& cuda_table<CfcTable>() {
  static constexpr CfcTable table = {{{cfc_forward}}, {{cfc_backward}}};
  return table;
}

}  // namespace pyformer::cuda
