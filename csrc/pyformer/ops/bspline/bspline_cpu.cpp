// bspline, vector code for one instruction set: the formulas of bspline_rows.h on registers.
#include "pyformer/ops/bspline/bspline_rows.h"

namespace pyformer {
template <>
const BsplineTable& KernelsOf<BsplineTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr BsplineTable table = {
      {{bspline_forward_rows<float, Vec<float>>, bspline_forward_rows<double, Vec<double>>}},
      {{bspline_backward_rows<float, Vec<float>>, bspline_backward_rows<double, Vec<double>>}}};
  return table;
}
}  // namespace pyformer
