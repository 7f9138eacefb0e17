// cfc, vector code for one instruction set: the formulas of cfc_rows.h on registers.
#include "pyformer/ops/cfc/cfc_rows.h"

namespace pyformer {
template <>
const CfcStepTable& KernelsOf<CfcStepTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr CfcStepTable table = {{{cfc_forward_rows<Vec<float>>, cfc_forward_rows<Vec<double>>}},
                                         {{cfc_backward_rows<Vec<float>>, cfc_backward_rows<Vec<double>>}}};
  return table;
}
}  // namespace pyformer
