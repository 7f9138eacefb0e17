// gru, vector code for one instruction set: the formulas of gru_rows.h on registers.
#include "pyformer/ops/gru/gru_rows.h"

namespace pyformer {
template <>
const GruKernels& gru_kernels<PF_ISA::kIsa>() {
  using PF_ISA::Vec;
  static constexpr GruKernels kernels = {
      {PF_ISA::gru_forward_rows<Vec<float>>, PF_ISA::gru_forward_rows<Vec<double>>},
      {PF_ISA::gru_backward_rows<Vec<float>>, PF_ISA::gru_backward_rows<Vec<double>>}};
  return kernels;
}
}  // namespace pyformer
