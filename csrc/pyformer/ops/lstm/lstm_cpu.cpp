// lstm, vector code for one instruction set: the formulas of lstm_rows.h on registers.
#include "pyformer/ops/lstm/lstm_rows.h"

namespace pyformer {
template <>
const LstmStepTable& KernelsOf<LstmStepTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr LstmStepTable table = {{{lstm_forward_rows<Vec<float>>, lstm_forward_rows<Vec<double>>}},
                                          {{lstm_backward_rows<Vec<float>>, lstm_backward_rows<Vec<double>>}}};
  return table;
}
}  // namespace pyformer
