// gru: the formulas of gru_rows.h with a thread for each element of a step.
#include "pyformer/ops/gru/gru_rows.h"
#include "pyformer/ops/recurrent/recurrent_cuda.h"

namespace pyformer::cuda {

template <class T>
struct GruCell {
  using Args = GruForward;
  static DEVICE void at(const Args& a, int64_t row, int64_t j) { gru_forward_strip<T>(a, row, j, 1); }
};
template <class T>
struct GruGradientCell {
  using Args = GruBackward;
  static DEVICE void at(const Args& a, int64_t row, int64_t j) { gru_backward_strip<T>(a, row, j, 1); }
};

template <class T>
static void gru_forward(const GruWalk& a) {
  const RecurrentShape& s = a.s;
  const int64_t H = s.hidden;
  recur<T>(a, [&](int64_t t, const StepRows& previous, const StepRows& recurrent) {
    start_step<GruCell<T>>(s, {H, recurrent, step_of<T>(a.gates, s, t, 3 * H), step_of<T>(a.candidates, s, t, H),
                               previous, step_of<T>(a.out, s, t, H)});
  });
}

template <class T>
static void gru_backward(const GruWalkBackward& a) {
  const RecurrentShape& s = a.s;
  const int64_t H = s.hidden;
  recur_backward<T>(a, a.dv, true, [&](int64_t t) {
    start_step<GruGradientCell<T>>(s, {H,
                                       step_of<T>(a.gates, s, t, 3 * H),
                                       step_of<T>(a.candidates, s, t, H),
                                       state_before<T>(a.out, a.h0, s, t),
                                       step_of<T>(a.dout, s, t, H),
                                       {a.dh, H},
                                       step_of<T>(a.du, s, t, 3 * H),
                                       step_of<T>(a.dv, s, t, 3 * H)});
  });
}

template <>
const GruTable& cuda_table<GruTable>() {
  static constexpr GruTable table = {{{gru_forward<float>, gru_forward<double>}},
                                     {{gru_backward<float>, gru_backward<double>}}};
  return table;
}

}  // namespace pyformer::cuda
