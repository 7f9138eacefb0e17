// The host's programs of gru: a product and a step of gru_ref.cpp or gru_cpu.cpp, over and over.
#include "pyformer/base/run.h"
#include "pyformer/ops/gru/gru_kernels.h"
#include "pyformer/ops/recurrent/recurrent_program.h"

namespace pyformer {

template <Isa isa>
static void forward(const GruWalk& a) {
  const auto cell = host_entry(&GruStepTable::forward, isa, a.dtype);
  const RecurrentShape& s = a.s;
  const int64_t H = s.hidden;
  const auto step_of = [&](void* values, int64_t t, int64_t n) { return step_rows(values, s, t, n, a.dtype); };
  recur(isa, s, a.dtype, a.out, a.h0, a.w_hh, a.b_hh,
        [&](int64_t t, const StepRows& previous, const StepRows& recurrent, int64_t begin, int64_t end) {
          cell({H, recurrent, step_of(a.gates, t, 3 * H), step_of(a.candidates, t, H), previous, step_of(a.out, t, H)},
               begin, end);
        });
}

template <Isa isa>
static void backward(const GruWalkBackward& a) {
  const auto cell = host_entry(&GruStepTable::backward, isa, a.dtype);
  const RecurrentShape& s = a.s;
  const int64_t H = s.hidden;
  const auto step_of = [&](void* values, int64_t t, int64_t n) { return step_rows(values, s, t, n, a.dtype); };
  recur_backward(isa, s, a.dtype, a.dv, a.w_hh, a.dh, true, [&](int64_t t, int64_t step, int64_t begin, int64_t end) {
    const StepRows previous = step == 0 ? StepRows{a.h0, H} : step_of(a.out, s.reverse ? t + 1 : t - 1, H);
    cell({H,
          step_of(a.gates, t, 3 * H),
          step_of(a.candidates, t, H),
          previous,
          step_of(a.dout, t, H),
          {a.dh, H},
          step_of(a.du, t, 3 * H),
          step_of(a.dv, t, 3 * H)},
         begin, end);
  });
}

template <Isa isa>
const GruTable& KernelsOf<GruTable, isa>::table() {
  static constexpr GruTable table = {{{forward<isa>, forward<isa>}}, {{backward<isa>, backward<isa>}}};
  return table;
}
template struct KernelsOf<GruTable, Isa::ref>;
template struct KernelsOf<GruTable, Isa::portable>;
template struct KernelsOf<GruTable, Isa::avx2>;
template struct KernelsOf<GruTable, Isa::avx512>;

}  // namespace pyformer
