// What losses share, plain loops.
#include "pyformer/ops/loss/loss_kernels.h"

#include "pyformer/base/element.h"

namespace pyformer::PF_ISA {

template <class T>
static void divide(const DivideLoss& a, int64_t, int64_t) {
  using A = Accumulator<T>;
  const int64_t count = !a.counted ? a.count : *a.counted < 1 ? 1 : *a.counted;
  to<T>(a.out)[0] = *static_cast<const A*>(a.sum) / A(count);
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const LossTable& KernelsOf<LossTable, PF_ISA::kIsa>::table() {
  static constexpr LossTable table = {
      for_each_float<Kernel<DivideLoss>>([]<class T>() -> Kernel<DivideLoss> { return PF_ISA::divide<T>; })};
  return table;
}
}  // namespace pyformer
