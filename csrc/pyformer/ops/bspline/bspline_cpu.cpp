// bspline, vector code for one instruction set: the formulas of bspline_rows.h on registers.
#include "pyformer/ops/bspline/bspline_rows.h"

namespace pyformer {
template <>
const BsplineKernels& bspline_kernels<PF_ISA::kIsa>() {
  using PF_ISA::Vec;
  static constexpr BsplineKernels kernels = {
      {PF_ISA::bspline_forward_rows<Vec<float>>, PF_ISA::bspline_forward_rows<Vec<double>>},
      {PF_ISA::bspline_backward_rows<Vec<float>>, PF_ISA::bspline_backward_rows<Vec<double>>}};
  return kernels;
}
}  // namespace pyformer
