// cfc: the formulas of cfc_rows.h with a thread for each element of a step.
#include "pyformer/ops/cfc/cfc_rows.h"
#include "pyformer/ops/recurrent/recurrent_cuda.h"

namespace pyformer::cuda {

template <class T>
struct CfcCell {
  using Args = CfcForward;
  static DEVICE void at(const Args& a, int64_t row, int64_t j) { cfc_forward_strip<T>(a, row, j, 1); }
};
template <class T>
struct CfcGradientCell {
  using Args = CfcBackward;
  static DEVICE void at(const Args& a, int64_t row, int64_t j) { cfc_backward_strip<T>(a, row, j, 1); }
};

template <class T, class Walk>
static StepRows elapsed_of(const Walk& a, int64_t t) {
  return a.elapsed ? step_of<T>(a.elapsed, a.s, t, 1) : StepRows{};
}

template <class T>
static void cfc_forward(const CfcWalk& a) {
  const RecurrentShape& s = a.s;
  const int64_t H = s.hidden;
  recur<T>(a, [&](int64_t t, const StepRows&, const StepRows& recurrent) {
    start_step<CfcCell<T>>(
        s, {H, recurrent, step_of<T>(a.gates, s, t, 3 * H), elapsed_of<T>(a, t), step_of<T>(a.out, s, t, H)});
  });
}

template <class T>
static void cfc_backward(const CfcWalkBackward& a) {
  const RecurrentShape& s = a.s;
  const int64_t H = s.hidden;
  recur_backward<T>(a, a.dgates, false, [&](int64_t t) {
    start_step<CfcGradientCell<T>>(s, {H,
                                       step_of<T>(a.gates, s, t, 3 * H),
                                       elapsed_of<T>(a, t),
                                       step_of<T>(a.dout, s, t, H),
                                       {a.dh, H},
                                       step_of<T>(a.dgates, s, t, 3 * H)});
  });
}

template <>
const CfcTable& cuda_table<CfcTable>() {
  static constexpr CfcTable table = {{{cfc_forward<float>, cfc_forward<double>}},
                                     {{cfc_backward<float>, cfc_backward<double>}}};
  return table;
}

}  // namespace pyformer::cuda
