// lstm: the formulas of lstm_rows.h with a thread for each element of a step.
#include "pyformer/ops/lstm/lstm_rows.h"
#include "pyformer/ops/recurrent/recurrent_cuda.h"

namespace pyformer::cuda {

template <class T>
struct LstmCell {
  using Args = LstmForward;
  static DEVICE void at(const Args& a, int64_t row, int64_t j) { lstm_forward_strip<T>(a, row, j, 1); }
};
template <class T>
struct LstmGradientCell {
  using Args = LstmBackward;
  static DEVICE void at(const Args& a, int64_t row, int64_t j) { lstm_backward_strip<T>(a, row, j, 1); }
};

template <class T>
static void lstm_forward(const LstmWalk& a) {
  const RecurrentShape& s = a.s;
  const int64_t H = s.hidden;
  recur<T>(a, [&](int64_t t, const StepRows&, const StepRows& recurrent) {
    start_step<LstmCell<T>>(s, {H, recurrent, step_of<T>(a.gates, s, t, 4 * H), state_before<T>(a.cells, a.c0, s, t),
                                step_of<T>(a.cells, s, t, H), step_of<T>(a.out, s, t, H)});
  });
}

// The gradients of a row's last state, added to those of the step that made it.
template <class T>
struct RowEnd {
  T *dh, *dc;
  const T *dh_end, *dc_end;
};
template <class T>
struct AddRowEnd {
  using Args = RowEnd<T>;
  static DEVICE void at(const Args& a, int64_t j) {
    a.dh[j] = a.dh[j] + a.dh_end[j];
    a.dc[j] = a.dc[j] + a.dc_end[j];
  }
};
// The last states of the rows that end at token t belong to this step.
template <class T>
static void add_ends(const LstmWalkBackward& a, int64_t t) {
  const int64_t H = a.s.hidden;
  for (int64_t b = 0; b < a.s.batch; ++b)
    if (a.lengths[b] == t + 1)
      start_items<AddRowEnd<T>>({static_cast<T*>(a.dh) + b * H, static_cast<T*>(a.dc) + b * H,
                                 static_cast<const T*>(a.dh_end) + b * H, static_cast<const T*>(a.dc_end) + b * H},
                                H);
}

template <class T>
static void lstm_backward(const LstmWalkBackward& a) {
  const RecurrentShape& s = a.s;
  const int64_t H = s.hidden;
  recur_backward<T>(a, a.dgates, false, [&](int64_t t) {
    if (a.lengths) add_ends<T>(a, t);
    start_step<LstmGradientCell<T>>(s, {H,
                                        step_of<T>(a.gates, s, t, 4 * H),
                                        state_before<T>(a.cells, a.c0, s, t),
                                        step_of<T>(a.cells, s, t, H),
                                        step_of<T>(a.dout, s, t, H),
                                        {a.dh, H},
                                        {a.dc, H},
                                        step_of<T>(a.dgates, s, t, 4 * H)});
  });
}

template <>
const LstmTable& cuda_table<LstmTable>() {
  static constexpr LstmTable table = {{{lstm_forward<float>, lstm_forward<double>}},
                                      {{lstm_backward<float>, lstm_backward<double>}}};
  return table;
}

}  // namespace pyformer::cuda
