// dropout, an element at a time: out = word >= threshold ? x * scale : 0. The gradient is the same map of dout.
#include "pyformer/ops/dropout/dropout_kernels.h"

#include "pyformer/base/element.h"
#include "pyformer/base/philox.h"

namespace pyformer::PF_ISA {

template <class T>
static void forward(const DropoutForward& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const auto x = in<T>(a.x);
  const auto out = to<T>(a.out);
  for (int64_t i = begin; i < end; ++i) {
    const uint32_t word = philox(a.seed, a.stream, uint64_t(i) / 4).word[uint64_t(i) % 4];
    out[i] = word >= a.threshold ? x[i] * A(a.scale) : A(0);
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const DropoutTable& KernelsOf<DropoutTable, PF_ISA::kIsa>::table() {
  static constexpr DropoutTable table = {
      for_each_float<Kernel<DropoutForward>>([]<class T>() -> Kernel<DropoutForward> { return PF_ISA::forward<T>; })};
  return table;
}
}  // namespace pyformer
