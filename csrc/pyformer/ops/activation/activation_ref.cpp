// Activations element by element, plain loops: out = f(x), dx = times_slope(dout, f'(x)). The functions are
// activation_functions.h's.
#include "pyformer/base/element.h"
#include "pyformer/ops/activation/activation_functions.h"
#include "pyformer/ops/activation/activation_kernels.h"

namespace pyformer::PF_ISA {

template <class T>
static void forward(const ActivationForward& a, int64_t begin, int64_t end) {
  const auto x = in<T>(a.x);
  const auto out = to<T>(a.out);
  with_activation(a.activation, [&]<class F>() {
    for (int64_t i = begin; i < end; ++i) out[i] = F::value(Accumulator<T>(x[i]));
  });
}

template <class T>
static void backward(const ActivationBackward& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const auto dout = in<T>(a.dout), x = in<T>(a.x);
  const auto dx = to<T>(a.dx);
  with_activation(a.activation, [&]<class F>() {
    for (int64_t i = begin; i < end; ++i) dx[i] = times_slope(A(dout[i]), F::derivative(A(x[i])));
  });
}

template <class T>
static void both(const ActivationBoth& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const auto x = to<T>(a.x), out = to<T>(a.out);
  with_activation(a.activation, [&]<class F>() {
    for (int64_t i = begin; i < end; ++i) {
      A value, derivative;
      F::both(A(x[i]), &value, &derivative);
      x[i] = derivative;
      out[i] = value;
    }
  });
}

}  // namespace pyformer::PF_ISA

namespace pyformer {

const char* const* listed_names() { return PF_ISA::activations::All::names; }

template <>
const ActivationTable& KernelsOf<ActivationTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr ActivationTable table = {
      for_each_float<Kernel<ActivationForward>>([]<class T>() -> Kernel<ActivationForward> { return forward<T>; }),
      for_each_float<Kernel<ActivationBackward>>([]<class T>() -> Kernel<ActivationBackward> { return backward<T>; }),
      for_each_float<Kernel<ActivationBoth>>([]<class T>() -> Kernel<ActivationBoth> { return both<T>; })};
  return table;
}
}  // namespace pyformer
