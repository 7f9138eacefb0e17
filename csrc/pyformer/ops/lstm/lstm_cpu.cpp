// lstm, vector code for one instruction set: the formulas of lstm_rows.h on registers.
#include "pyformer/ops/lstm/lstm_rows.h"

namespace pyformer {
template <>
const LstmKernels& lstm_kernels<PF_ISA::kIsa>() {
  using PF_ISA::Vec;
  static constexpr LstmKernels kernels = {
      {PF_ISA::lstm_forward_rows<Vec<float>>, PF_ISA::lstm_forward_rows<Vec<double>>},
      {PF_ISA::lstm_backward_rows<Vec<float>>, PF_ISA::lstm_backward_rows<Vec<double>>}};
  return kernels;
}
}  // namespace pyformer
