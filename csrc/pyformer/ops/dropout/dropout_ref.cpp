// dropout, an element at a time: out = word >= threshold ? x * scale : 0. The gradient is the same map of dout.
#include "pyformer/ops/dropout/dropout_kernels.h"

#include "pyformer/base/philox.h"

namespace pyformer::PF_ISA {

template <class T>
static void forward(const DropoutForward& a, int64_t begin, int64_t end) {
  const T* x = static_cast<const T*>(a.x);
  T* out = static_cast<T*>(a.out);
  for (int64_t i = begin; i < end; ++i) {
    const uint32_t word = philox(a.seed, a.stream, uint64_t(i) / 4).word[uint64_t(i) % 4];
    out[i] = word >= a.threshold ? x[i] * T(a.scale) : T(0);
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const DropoutKernels& dropout_kernels<PF_ISA::kIsa>() {
  static constexpr DropoutKernels kernels = {{PF_ISA::forward<float>, PF_ISA::forward<double>}};
  return kernels;
}
}  // namespace pyformer
