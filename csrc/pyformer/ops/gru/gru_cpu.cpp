// gru, vector code for one instruction set: the formulas of gru_rows.h on registers.
#include "pyformer/ops/gru/gru_rows.h"

namespace pyformer {
template <>
const GruStepTable& KernelsOf<GruStepTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr GruStepTable table = {{{gru_forward_rows<Vec<float>>, gru_forward_rows<Vec<double>>}},
                                         {{gru_backward_rows<Vec<float>>, gru_backward_rows<Vec<double>>}}};
  return table;
}
}  // namespace pyformer
