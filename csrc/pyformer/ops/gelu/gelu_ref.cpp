// gelu, plain loops: out = gelu(x), dx = dout * gelu'(x). The two forms and their derivatives are in math.h.
#include "pyformer/ops/gelu/gelu_kernels.h"

#include "pyformer/base/math.h"

namespace pyformer::PF_ISA {

template <class T, bool tanh>
static void forward(const GeluForward& a, int64_t begin, int64_t end) {
  const T* x = static_cast<const T*>(a.x);
  T* out = static_cast<T*>(a.out);
  for (int64_t i = begin; i < end; ++i) out[i] = tanh ? gelu_tanh(x[i]) : gelu_erf(x[i]);
}

template <class T, bool tanh>
static void backward(const GeluBackward& a, int64_t begin, int64_t end) {
  const T* dout = static_cast<const T*>(a.dout);
  const T* x = static_cast<const T*>(a.x);
  T* dx = static_cast<T*>(a.dx);
  for (int64_t i = begin; i < end; ++i)
    dx[i] = dout[i] * (tanh ? gelu_tanh_derivative(x[i]) : gelu_erf_derivative(x[i]));
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const GeluKernels& gelu_kernels<PF_ISA::kIsa>() {
  static constexpr GeluKernels kernels = {{PF_ISA::forward<float, false>, PF_ISA::forward<double, false>},
                                          {PF_ISA::forward<float, true>, PF_ISA::forward<double, true>},
                                          {PF_ISA::backward<float, false>, PF_ISA::backward<double, false>},
                                          {PF_ISA::backward<float, true>, PF_ISA::backward<double, true>}};
  return kernels;
}
}  // namespace pyformer
