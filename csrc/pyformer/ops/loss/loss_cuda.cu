// What losses share: one thread divides.
#include "pyformer/cuda/kernel.h"
#include "pyformer/ops/loss/loss_kernels.h"

namespace pyformer::cuda {

template <class T>
struct Divide {
  using Args = DivideLoss;
  static DEVICE void at(const Args& a, int64_t) {
    const int64_t count = !a.counted ? a.count : *a.counted < 1 ? 1 : *a.counted;
    to<T>(a.out)[0] = *static_cast<const Accumulator<T>*>(a.sum) / Accumulator<T>(count);
  }
};

template <>
const LossTable& cuda_table<LossTable>() {
  static constexpr LossTable table = {
      for_each_float<Kernel<DivideLoss>>([]<class T>() -> Kernel<DivideLoss> { return each_item<Divide<T>>; })};
  return table;
}

}  // namespace pyformer::cuda
