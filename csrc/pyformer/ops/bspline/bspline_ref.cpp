// bspline, plain loops: the formulas of bspline_rows.h, an element at a time.
#include "pyformer/ops/bspline/bspline_rows.h"

namespace pyformer {
template <>
const BsplineKernels& bspline_kernels<PF_ISA::kIsa>() {
  static constexpr BsplineKernels kernels = {
      {PF_ISA::bspline_forward_rows<float>, PF_ISA::bspline_forward_rows<double>},
      {PF_ISA::bspline_backward_rows<float>, PF_ISA::bspline_backward_rows<double>}};
  return kernels;
}
}  // namespace pyformer
