// The host's programs of lstm: a product and a step of lstm_ref.cpp or lstm_cpu.cpp, over and over.
#include "pyformer/base/run.h"
#include "pyformer/ops/lstm/lstm_kernels.h"
#include "pyformer/ops/recurrent/recurrent_program.h"

namespace pyformer {

template <Isa isa>
static void forward(const LstmWalk& a) {
  const auto cell = host_entry(&LstmStepTable::forward, isa, a.dtype);
  const RecurrentShape& s = a.s;
  const int64_t H = s.hidden, first = s.time(0);
  const auto step = [&](void* states, int64_t t) { return step_rows(states, s, t, H, a.dtype); };
  recur(isa, s, a.dtype, a.out, a.h0, a.w_hh, a.b_hh,
        [&](int64_t t, const StepRows&, const StepRows& recurrent, int64_t begin, int64_t end) {
          const StepRows c_previous = t == first ? StepRows{a.c0, H} : step(a.cells, s.reverse ? t + 1 : t - 1);
          cell({H, recurrent, step_rows(a.gates, s, t, 4 * H, a.dtype), c_previous, step(a.cells, t), step(a.out, t)},
               begin, end);
        });
}

template <class T>
static void add_row(const StepRows& sum, const StepRows& term, int64_t b, int64_t n) {
  for (int64_t j = 0; j < n; ++j) sum.row<T>(b)[j] += term.row<T>(b)[j];
}

// The last states of the rows that end at token t belong to this step.
static void add_ends(const LstmWalkBackward& a, int64_t t, int64_t begin, int64_t end) {
  const int64_t H = a.s.hidden;
  const auto add = a.dtype == DType::float64 ? add_row<double> : add_row<float>;
  for (int64_t b = begin; b < end; ++b) {
    if (a.lengths[b] != t + 1) continue;
    add({a.dh, H}, {a.dh_end, H}, b, H);
    add({a.dc, H}, {a.dc_end, H}, b, H);
  }
}

template <Isa isa>
static void backward(const LstmWalkBackward& a) {
  const auto cell = host_entry(&LstmStepTable::backward, isa, a.dtype);
  const RecurrentShape& s = a.s;
  const int64_t H = s.hidden;
  const auto step_of = [&](void* values, int64_t t, int64_t n) { return step_rows(values, s, t, n, a.dtype); };
  recur_backward(
      isa, s, a.dtype, a.dgates, a.w_hh, a.dh, false, [&](int64_t t, int64_t step, int64_t begin, int64_t end) {
        if (a.lengths) add_ends(a, t, begin, end);
        const StepRows c_previous = step == 0 ? StepRows{a.c0, H} : step_of(a.cells, s.reverse ? t + 1 : t - 1, H);
        cell({H,
              step_of(a.gates, t, 4 * H),
              c_previous,
              step_of(a.cells, t, H),
              step_of(a.dout, t, H),
              {a.dh, H},
              {a.dc, H},
              step_of(a.dgates, t, 4 * H)},
             begin, end);
      });
}

template <Isa isa>
const LstmTable& KernelsOf<LstmTable, isa>::table() {
  static constexpr LstmTable table = {{{forward<isa>, forward<isa>}}, {{backward<isa>, backward<isa>}}};
  return table;
}
template struct KernelsOf<LstmTable, Isa::ref>;
template struct KernelsOf<LstmTable, Isa::portable>;
template struct KernelsOf<LstmTable, Isa::avx2>;
template struct KernelsOf<LstmTable, Isa::avx512>;

}  // namespace pyformer
