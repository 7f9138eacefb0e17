// gru: the formulas of gru_rows.h with a thread for each element of a step.
#include "pyformer/ops/gru/gru_rows.h"
#include "pyformer/ops/recurrent/recurrent_cuda.h"

namespace pyformer::cuda {

struct GruCell {
  using Args = GruForward;
  static DEVICE void at(const Args& a, int64_t row, int64_t j) { gru_forward_strip<float>(a, row, j, 1); }
};
struct GruGradientCell {
  using Args = GruBackward;
  static DEVICE void at(const Args& a, int64_t row, int64_t j) { gru_backward_strip<float>(a, row, j, 1); }
};

static void gru_forward(const GruWalk& a) {
  const RecurrentShape& s = a.s;
  const int64_t H = s.hidden;
  recur(a, [&](int64_t t, const StepRows& previous, const StepRows& recurrent) {
    start_step<GruCell>(s, {H, recurrent, step_of(a.gates, s, t, 3 * H), step_of(a.candidates, s, t, H), previous,
                            step_of(a.out, s, t, H)});
  });
}

static void gru_backward(const GruWalkBackward& a) {
  const RecurrentShape& s = a.s;
  const int64_t H = s.hidden;
  recur_backward(a, a.dv, true, [&](int64_t t) {
    start_step<GruGradientCell>(s, {H,
                                    step_of(a.gates, s, t, 3 * H),
                                    step_of(a.candidates, s, t, H),
                                    state_before(a.out, a.h0, s, t),
                                    step_of(a.dout, s, t, H),
                                    {a.dh, H},
                                    step_of(a.du, s, t, 3 * H),
                                    step_of(a.dv, s, t, 3 * H)});
  });
}

template <>
const GruTable& cuda_table<GruTable>() {
  static constexpr GruTable table = {{{gru_forward}}, {{gru_backward}}};
  return table;
}

}  // namespace pyformer::cuda
