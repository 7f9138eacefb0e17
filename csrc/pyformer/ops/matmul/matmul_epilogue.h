// What happens to a finished sum; V is a scalar or Vec<T>. For *_ref.cpp and *_cpu.cpp.
#pragma once
#include "pyformer/base/math.h"
#include "pyformer/ops/matmul/matmul_kernels.h"

namespace pyformer::PF_ISA {

template <Activation activation, class V>
PF_INLINE V activate(V x) {
  if constexpr (activation == Activation::gelu) return gelu_erf(x);
  if constexpr (activation == Activation::gelu_tanh) return gelu_tanh(x);
  if constexpr (activation == Activation::relu) return max(splat<V>(0), x);  // NaN stays NaN
  if constexpr (activation == Activation::silu) return silu(x);
  return x;
}

template <Activation activation, class V>
PF_INLINE V activation_derivative(V x) {
  if constexpr (activation == Activation::gelu) return gelu_erf_derivative(x);
  if constexpr (activation == Activation::gelu_tanh) return gelu_tanh_derivative(x);
  if constexpr (activation == Activation::relu) return select(x > splat<V>(0), splat<V>(1), splat<V>(0));
  if constexpr (activation == Activation::silu) return silu_derivative(x);
  return x;
}

template <Activation activation, class V>
PF_INLINE void activate_with_derivative(V x, V* value, V* derivative) {
  if constexpr (activation == Activation::gelu_tanh) return gelu_tanh_with_derivative(x, value, derivative);
  *value = activate<activation>(x);
  *derivative = activation_derivative<activation>(x);
}

// Calls f<activation>().
template <class F>
PF_INLINE void with_activation(Activation activation, const F& f) {
  switch (activation) {
    case Activation::none:
      return f.template operator()<Activation::none>();
    case Activation::gelu:
      return f.template operator()<Activation::gelu>();
    case Activation::gelu_tanh:
      return f.template operator()<Activation::gelu_tanh>();
    case Activation::relu:
      return f.template operator()<Activation::relu>();
    case Activation::silu:
      return f.template operator()<Activation::silu>();
  }
}

// The finished value of element (row, col) at C's offset `at`. load(p), store(p, v) move one V.
template <Activation activation, class T, class V, class Load, class Store>
PF_INLINE V finish(const Epilogue& e, V value, int64_t col, int64_t at, const Load& load, const Store& store) {
  if (e.bias) value = value + load(static_cast<const T*>(e.bias) + col);
  if (e.preactivation) store(static_cast<T*>(e.preactivation) + at, value);
  value = activate<activation>(value);
  if (e.factor) value = value * load(static_cast<const T*>(e.factor) + at);
  if (e.residual) value = value + load(static_cast<const T*>(e.residual) + at);
  return value;
}

}  // namespace pyformer::PF_ISA
