// gelu, vector code for one instruction set: the formulas of gelu_ref.cpp on registers.
#include "pyformer/ops/gelu/gelu_kernels.h"

#include "pyformer/base/math.h"

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
  const T* x = static_cast<const T*>(a.x);
  T* out = static_cast<T*>(a.out);
  int64_t i = begin;
  for (; i + Vec<T>::width <= end; i += Vec<T>::width) value<tanh>(Vec<T>::load(x + i)).store(out + i);
  if (i < end) value<tanh>(Vec<T>::load_partial(x + i, end - i)).store_partial(out + i, end - i);
}

template <class T, bool tanh>
static void backward(const GeluBackward& a, int64_t begin, int64_t end) {
  const T* dout = static_cast<const T*>(a.dout);
  const T* x = static_cast<const T*>(a.x);
  T* dx = static_cast<T*>(a.dx);
  int64_t i = begin;
  for (; i + Vec<T>::width <= end; i += Vec<T>::width)
    (Vec<T>::load(dout + i) * derivative<tanh>(Vec<T>::load(x + i))).store(dx + i);
  if (i < end)
    (Vec<T>::load_partial(dout + i, end - i) * derivative<tanh>(Vec<T>::load_partial(x + i, end - i)))
        .store_partial(dx + i, end - i);
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
