// gru, plain loops: the formulas of gru_rows.h, an element at a time.
#include "pyformer/ops/gru/gru_rows.h"

namespace pyformer {
template <>
const GruStepTable& KernelsOf<GruStepTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr GruStepTable table = {{{gru_forward_rows<float>, gru_forward_rows<double>}},
                                         {{gru_backward_rows<float>, gru_backward_rows<double>}}};
  return table;
}
}  // namespace pyformer
