// cfc, vector code for one instruction set: the formulas of cfc_rows.h on registers.
#include "pyformer/ops/cfc/cfc_rows.h"

namespace pyformer {
template <>
const CfcKernels& cfc_kernels<PF_ISA::kIsa>() {
  using PF_ISA::Vec;
  static constexpr CfcKernels kernels = {
      {PF_ISA::cfc_forward_rows<Vec<float>>, PF_ISA::cfc_forward_rows<Vec<double>>},
      {PF_ISA::cfc_backward_rows<Vec<float>>, PF_ISA::cfc_backward_rows<Vec<double>>}};
  return kernels;
}
}  // namespace pyformer
