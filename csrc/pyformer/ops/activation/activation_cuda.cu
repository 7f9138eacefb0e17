// Activations: the functions of activation_functions.h with a thread for each element.
#include "pyformer/cuda/kernel.h"
#include "pyformer/ops/activation/activation_functions.h"
#include "pyformer/ops/activation/activation_kernels.h"

namespace pyformer::cuda {

template <class T>
struct ActivationElement {
  using Args = ActivationForward;
  static DEVICE void at(const Args& a, int64_t i) {
    const Accumulator<T> x = in<T>(a.x)[i];
    with_activation(a.activation, [&]<class F>() { to<T>(a.out)[i] = F::value(x); });
  }
};

template <class T>
struct ActivationGradient {
  using Args = ActivationBackward;
  static DEVICE void at(const Args& a, int64_t i) {
    const Accumulator<T> dout = in<T>(a.dout)[i], x = in<T>(a.x)[i];
    with_activation(a.activation, [&]<class F>() { to<T>(a.dx)[i] = times_slope(dout, F::derivative(x)); });
  }
};

template <class T>
struct ActivationAndSlope {
  using Args = ActivationBoth;
  static DEVICE void at(const Args& a, int64_t i) {
    const Accumulator<T> x = to<T>(a.x)[i];
    with_activation(a.activation, [&]<class F>() {
      Accumulator<T> value, derivative;
      F::both(x, &value, &derivative);
      to<T>(a.x)[i] = derivative;
      to<T>(a.out)[i] = value;
    });
  }
};

template <>
const ActivationTable& cuda_table<ActivationTable>() {
  static constexpr ActivationTable table = {
      for_each_float<Kernel<ActivationForward>>(
          []<class T>() -> Kernel<ActivationForward> { return each_item<ActivationElement<T>>; }),
      for_each_float<Kernel<ActivationBackward>>(
          []<class T>() -> Kernel<ActivationBackward> { return each_item<ActivationGradient<T>>; }),
      for_each_float<Kernel<ActivationBoth>>(
          []<class T>() -> Kernel<ActivationBoth> { return each_item<ActivationAndSlope<T>>; })};
  return table;
}

}  // namespace pyformer::cuda
