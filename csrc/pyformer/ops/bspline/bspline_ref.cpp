// bspline, plain loops: the formulas of bspline_rows.h, an element at a time.
#include "pyformer/ops/bspline/bspline_rows.h"

namespace pyformer {
template <>
const BsplineTable& KernelsOf<BsplineTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr BsplineTable table = {
      for_each_float<Kernel<BsplineForward>>(
          []<class T>() -> Kernel<BsplineForward> { return bspline_forward_rows<T, Accumulator<T>>; }),
      for_each_float<Kernel<BsplineBackward>>(
          []<class T>() -> Kernel<BsplineBackward> { return bspline_backward_rows<T, Accumulator<T>>; })};
  return table;
}
}  // namespace pyformer
