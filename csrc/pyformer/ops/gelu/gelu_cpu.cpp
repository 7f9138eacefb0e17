// gelu, vector code for one instruction set: the formulas of gelu_ref.cpp on registers.
#include "pyformer/ops/gelu/gelu_kernels.h"

#include "pyformer/base/math.h"
#include "pyformer/base/write.h"

namespace pyformer::PF_ISA {

template <bool tanh, class T>
static PF_INLINE Vec<T> value(Vec<T> x) {
  if constexpr (tanh)
    return gelu_tanh(x);
  else
    return gelu_erf(x);
}
template <bool tanh, class T>
static PF_INLINE Vec<T> derivative(Vec<T> x) {
  if constexpr (tanh)
    return gelu_tanh_derivative(x);
  else
    return gelu_erf_derivative(x);
}

template <class T, bool tanh>
static void forward(const GeluForward& a, int64_t begin, int64_t end) {
  const T* x = static_cast<const T*>(a.x) + begin;
  write_row(static_cast<T*>(a.out) + begin, end - begin, a.nontemporal,
            [&](int64_t i, int64_t n) { return value<tanh>(load_vec(x + i, n)); });
  if (a.nontemporal) nontemporal_fence();
}

template <class T, bool tanh>
static void backward(const GeluBackward& a, int64_t begin, int64_t end) {
  const T* dout = static_cast<const T*>(a.dout) + begin;
  const T* x = static_cast<const T*>(a.x) + begin;
  write_row(static_cast<T*>(a.dx) + begin, end - begin, a.nontemporal,
            [&](int64_t i, int64_t n) { return load_vec(dout + i, n) * derivative<tanh>(load_vec(x + i, n)); });
  if (a.nontemporal) nontemporal_fence();
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
