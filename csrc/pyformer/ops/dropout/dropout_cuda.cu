// dropout: dropout_ref.cpp with a thread for each element, with the CPU's random numbers.
#include "pyformer/base/philox.h"
#include "pyformer/cuda/kernel.h"
#include "pyformer/ops/dropout/dropout_kernels.h"

namespace pyformer::cuda {

template <class T>
struct DropoutElement {
  using Args = DropoutForward;
  static DEVICE void at(const Args& a, int64_t i) {
    const PhiloxWords words = philox(a.seed, a.stream, uint64_t(i) / 4);
    const int k = int(i % 4);
    const uint32_t word = k < 2 ? (k ? words.word[1] : words.word[0]) : (k == 2 ? words.word[2] : words.word[3]);
    to<T>(a.out)[i] = word >= a.threshold ? in<T>(a.x)[i] * float(a.scale) : 0.0f;
  }
};

template <>
const DropoutTable& cuda_table<DropoutTable>() {
  static constexpr DropoutTable table = {for_cuda_floats<Kernel<DropoutForward>>(
      []<class T>() -> Kernel<DropoutForward> { return each_item<DropoutElement<T>>; })};
  return table;
}

}  // namespace pyformer::cuda
