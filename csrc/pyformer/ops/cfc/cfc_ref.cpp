// cfc, plain loops: the formulas of cfc_rows.h, an element at a time.
#include "pyformer/ops/cfc/cfc_rows.h"

namespace pyformer {
template <>
const CfcStepTable& KernelsOf<CfcStepTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr CfcStepTable table = {{{cfc_forward_rows<float>, cfc_forward_rows<double>}},
                                         {{cfc_backward_rows<float>, cfc_backward_rows<double>}}};
  return table;
}
}  // namespace pyformer
