// lstm, plain loops: the formulas of lstm_rows.h, an element at a time.
#include "pyformer/ops/lstm/lstm_rows.h"

namespace pyformer {
template <>
const LstmKernels& lstm_kernels<PF_ISA::kIsa>() {
  static constexpr LstmKernels kernels = {{PF_ISA::lstm_forward_rows<float>, PF_ISA::lstm_forward_rows<double>},
                                          {PF_ISA::lstm_backward_rows<float>, PF_ISA::lstm_backward_rows<double>}};
  return kernels;
}
}  // namespace pyformer
