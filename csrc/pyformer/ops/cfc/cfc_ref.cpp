// cfc, plain loops: the formulas of cfc_rows.h, an element at a time.
#include "pyformer/ops/cfc/cfc_rows.h"

namespace pyformer {
template <>
const CfcKernels& cfc_kernels<PF_ISA::kIsa>() {
  static constexpr CfcKernels kernels = {{PF_ISA::cfc_forward_rows<float>, PF_ISA::cfc_forward_rows<double>},
                                         {PF_ISA::cfc_backward_rows<float>, PF_ISA::cfc_backward_rows<double>}};
  return kernels;
}
}  // namespace pyformer
