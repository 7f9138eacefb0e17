// gru, plain loops: the formulas of gru_rows.h, an element at a time.
#include "pyformer/ops/gru/gru_rows.h"

namespace pyformer {
template <>
const GruKernels& gru_kernels<PF_ISA::kIsa>() {
  static constexpr GruKernels kernels = {{PF_ISA::gru_forward_rows<float>, PF_ISA::gru_forward_rows<double>},
                                         {PF_ISA::gru_backward_rows<float>, PF_ISA::gru_backward_rows<double>}};
  return kernels;
}
}  // namespace pyformer
