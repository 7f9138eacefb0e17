// The host's programs of cfc: a product and a step of cfc_ref.cpp or cfc_cpu.cpp, over and over.
#include "pyformer/base/run.h"
#include "pyformer/ops/cfc/cfc_kernels.h"
#include "pyformer/ops/recurrent/recurrent_program.h"

namespace pyformer {

template <class Walk>
static StepRows elapsed_rows(const Walk& a, int64_t t) {
  return a.elapsed ? step_rows(a.elapsed, a.s, t, 1, a.dtype) : StepRows{};
}

template <Isa isa>
static void forward(const CfcWalk& a) {
  const auto cell = host_entry(&CfcStepTable::forward, isa, a.dtype);
  const RecurrentShape& s = a.s;
  const int64_t H = s.hidden;
  const auto step_of = [&](void* values, int64_t t, int64_t n) { return step_rows(values, s, t, n, a.dtype); };
  recur(isa, s, a.dtype, a.out, a.h0, a.w_hh, a.b_hh,
        [&](int64_t t, const StepRows&, const StepRows& recurrent, int64_t begin, int64_t end) {
          cell({H, recurrent, step_of(a.gates, t, 3 * H), elapsed_rows(a, t), step_of(a.out, t, H)}, begin, end);
        });
}

template <Isa isa>
static void backward(const CfcWalkBackward& a) {
  const auto cell = host_entry(&CfcStepTable::backward, isa, a.dtype);
  const RecurrentShape& s = a.s;
  const int64_t H = s.hidden;
  const auto step_of = [&](void* values, int64_t t, int64_t n) { return step_rows(values, s, t, n, a.dtype); };
  recur_backward(isa, s, a.dtype, a.dgates, a.w_hh, a.dh, false, [&](int64_t t, int64_t, int64_t begin, int64_t end) {
    cell({H,
          step_of(a.gates, t, 3 * H),
          elapsed_rows(a, t),
          step_of(a.dout, t, H),
          {a.dh, H},
          step_of(a.dgates, t, 3 * H)},
         begin, end);
  });
}

template <Isa isa>
const CfcTable& KernelsOf<CfcTable, isa>::table() {
  static constexpr CfcTable table = {{{forward<isa>, forward<isa>}}, {{backward<isa>, backward<isa>}}};
  return table;
}
template struct KernelsOf<CfcTable, Isa::ref>;
template struct KernelsOf<CfcTable, Isa::portable>;
template struct KernelsOf<CfcTable, Isa::avx2>;
template struct KernelsOf<CfcTable, Isa::avx512>;

}  // namespace pyformer
