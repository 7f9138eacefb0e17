// dropout: dropout_ref.cpp with a thread for each element, with the CPU's random numbers.
#include "pyformer/base/philox.h"
#include "pyformer/cuda/kernel.h"
#include "pyformer/ops/dropout/dropout_kernels.h"

namespace pyformer::cuda {

template <class T>
struct DropoutElement {
  using Args = DropoutForward;
  static DEVICE void at(const Args& a, int64_t i) {
    const uint32_t word = philox_word(a.seed, a.stream, uint64_t(i));
    to<T>(a.out)[i] = word >= a.threshold ? in<T>(a.x)[i] * Accumulator<T>(a.scale) : Accumulator<T>(0);
  }
};

template <>
const DropoutTable& cuda_table<DropoutTable>() {
  static constexpr DropoutTable table = {for_each_float<Kernel<DropoutForward>>(
      []<class T>() -> Kernel<DropoutForward> { return each_item<DropoutElement<T>>; })};
  return table;
}

}  // namespace pyformer::cuda
