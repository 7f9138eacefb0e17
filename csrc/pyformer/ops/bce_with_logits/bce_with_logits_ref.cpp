// bce_with_logits, plain loops over the formulas of bce_with_logits.h; each gradient is multiplied by dout / divisor.
#include "pyformer/ops/bce_with_logits/bce_with_logits_kernels.h"

#include "pyformer/base/math.h"

namespace pyformer::PF_ISA {

template <class T>
static void forward(const BceForward& a, int64_t begin, int64_t end) {
  const T* x = static_cast<const T*>(a.x);
  const T* target = static_cast<const T*>(a.target);
  for (int64_t i = begin; i < end; ++i)
    static_cast<T*>(a.loss)[i] = fma(abs(x[i]), x[i] > T(0) ? T(1) - target[i] : target[i], softplus(-abs(x[i])));
}

template <class T>
static void backward(const BceBackward& a, int64_t begin, int64_t end) {
  const T* x = static_cast<const T*>(a.x);
  const T* target = static_cast<const T*>(a.target);
  const T* dout = static_cast<const T*>(a.dout);
  for (int64_t i = begin; i < end; ++i) {
    const T d = dout[a.dout_each ? i : 0] / T(a.divisor);
    if (a.dx) static_cast<T*>(a.dx)[i] = (sigmoid(x[i]) - target[i]) * d;
    if (a.dtarget) static_cast<T*>(a.dtarget)[i] = -x[i] * d;
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const BceKernels& bce_kernels<PF_ISA::kIsa>() {
  using namespace PF_ISA;
  static constexpr BceKernels kernels = {{forward<float>, forward<double>}, {backward<float>, backward<double>}};
  return kernels;
}
}  // namespace pyformer
