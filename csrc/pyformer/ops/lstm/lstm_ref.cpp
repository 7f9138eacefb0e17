// lstm, plain loops: the formulas of lstm_rows.h, an element at a time.
#include "pyformer/ops/lstm/lstm_rows.h"

namespace pyformer {
template <>
const LstmStepTable& KernelsOf<LstmStepTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr LstmStepTable table = {{{lstm_forward_rows<float>, lstm_forward_rows<double>}},
                                          {{lstm_backward_rows<float>, lstm_backward_rows<double>}}};
  return table;
}
}  // namespace pyformer
