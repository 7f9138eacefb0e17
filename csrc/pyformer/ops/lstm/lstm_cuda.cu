// lstm: the formulas of lstm_rows.h with a thread for each element of a step.
#include "pyformer/ops/lstm/lstm_rows.h"
#include "pyformer/ops/recurrent/recurrent_cuda.h"

namespace pyformer::cuda {

struct LstmCell {
  using Args = LstmForward;
  static DEVICE void at(const Args& a, int64_t row, int64_t j) { lstm_forward_strip<float>(a, row, j, 1); }
};
struct LstmGradientCell {
  using Args = LstmBackward;
  static DEVICE void at(const Args& a, int64_t row, int64_t j) { lstm_backward_strip<float>(a, row, j, 1); }
};

static void lstm_forward(const LstmWalk& a) {
  const RecurrentShape& s = a.s;
  const int64_t H = s.hidden;
  recur(a, [&](int64_t t, const StepRows&, const StepRows& recurrent) {
    start_step<LstmCell>(s, {H, recurrent, step_of(a.gates, s, t, 4 * H), state_before(a.cells, a.c0, s, t),
                             step_of(a.cells, s, t, H), step_of(a.out, s, t, H)});
  });
}

// The gradients of a row's last state, added to those of the step that made it.
struct RowEnd {
  float *dh, *dc;
  const float *dh_end, *dc_end;
};
struct AddRowEnd {
  using Args = RowEnd;
  static DEVICE void at(const Args& a, int64_t j) {
    a.dh[j] = a.dh[j] + a.dh_end[j];
    a.dc[j] = a.dc[j] + a.dc_end[j];
  }
};
// The last states of the rows that end at token t belong to this step.
static void add_ends(const LstmWalkBackward& a, int64_t t) {
  const int64_t H = a.s.hidden;
  for (int64_t b = 0; b < a.s.batch; ++b)
    if (a.lengths[b] == t + 1)
      start_items<AddRowEnd>({static_cast<float*>(a.dh) + b * H, static_cast<float*>(a.dc) + b * H,
                              static_cast<const float*>(a.dh_end) + b * H, static_cast<const float*>(a.dc_end) + b * H},
                             H);
}

static void lstm_backward(const LstmWalkBackward& a) {
  const RecurrentShape& s = a.s;
  const int64_t H = s.hidden;
  recur_backward(a, a.dgates, false, [&](int64_t t) {
    if (a.lengths) add_ends(a, t);
    start_step<LstmGradientCell>(s, {H,
                                     step_of(a.gates, s, t, 4 * H),
                                     state_before(a.cells, a.c0, s, t),
                                     step_of(a.cells, s, t, H),
                                     step_of(a.dout, s, t, H),
                                     {a.dh, H},
                                     {a.dc, H},
                                     step_of(a.dgates, s, t, 4 * H)});
  });
}

template <>
const LstmTable& cuda_table<LstmTable>() {
  static constexpr LstmTable table = {{{lstm_forward}}, {{lstm_backward}}};
  return table;
}

}  // namespace pyformer::cuda
