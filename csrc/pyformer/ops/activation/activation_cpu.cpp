// Activations element by element, vector code for one instruction set: activation_functions.h's on registers.
#include "pyformer/base/write.h"
#include "pyformer/ops/activation/activation_functions.h"
#include "pyformer/ops/activation/activation_kernels.h"

namespace pyformer::PF_ISA {

template <class T>
static void forward(const ActivationForward& a, int64_t begin, int64_t end) {
  const T* x = static_cast<const T*>(a.x) + begin;
  with_activation(a.activation, [&]<class F>() {
    write_row(static_cast<T*>(a.out) + begin, end - begin, a.nontemporal,
              [&](int64_t i, int64_t n) { return F::value(load_vec(x + i, n)); });
  });
  if (a.nontemporal) nontemporal_fence();
}

template <class T>
static void backward(const ActivationBackward& a, int64_t begin, int64_t end) {
  const T* dout = static_cast<const T*>(a.dout) + begin;
  const T* x = static_cast<const T*>(a.x) + begin;
  with_activation(a.activation, [&]<class F>() {
    write_row(static_cast<T*>(a.dx) + begin, end - begin, a.nontemporal, [&](int64_t i, int64_t n) {
      return times_slope(load_vec(dout + i, n), F::derivative(load_vec(x + i, n)));
    });
  });
  if (a.nontemporal) nontemporal_fence();
}

template <class T>
static void both(const ActivationBoth& a, int64_t begin, int64_t end) {
  T* x = static_cast<T*>(a.x) + begin;
  with_activation(a.activation, [&]<class F>() {
    write_row(static_cast<T*>(a.out) + begin, end - begin, a.nontemporal, [&](int64_t i, int64_t n) {
      Vec<T> value, derivative;
      F::both(load_vec(x + i, n), &value, &derivative);
      store_vec(derivative, x + i, n);
      return value;
    });
  });
  if (a.nontemporal) nontemporal_fence();
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const ActivationTable& KernelsOf<ActivationTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr ActivationTable table = {
      for_loop_floats<Kernel<ActivationForward>>([]<class T>() -> Kernel<ActivationForward> { return forward<T>; }),
      for_loop_floats<Kernel<ActivationBackward>>([]<class T>() -> Kernel<ActivationBackward> { return backward<T>; }),
      for_loop_floats<Kernel<ActivationBoth>>([]<class T>() -> Kernel<ActivationBoth> { return both<T>; })};
  return table;
}
}  // namespace pyformer
