// The activations, a struct each, over V = float, double or Vec<T>: the same operations in the same order, so that
// every instruction set, and every op that applies one, gives the same bits.
//
//   A::value(x), A::derivative(x), A::both(x, &value, &derivative)
//
// NaN in gives NaN out; a derivative at NaN is NaN or, where it is constant on either side, 1, so that a NaN gradient
// passes on. A new one is a struct here, its place in the list and its name in the enum Activation.
#pragma once
#include "pyformer/base/math.h"
#include "pyformer/ops/activation/activation_kind.h"

namespace pyformer::PF_ISA::activations {

// both() of functions that share no work with their derivatives.
template <class A>
struct Apart {
  template <class V>
  static PF_INLINE void both(V x, V* value, V* derivative) {
    *value = A::value(x);
    *derivative = A::derivative(x);
  }
};

struct None : Apart<None> {
  static constexpr const char* name = "none";
  static constexpr Activation id = Activation::none;
  template <class V>
  static PF_INLINE V value(V x) {
    return x;
  }
  template <class V>
  static PF_INLINE V derivative(V) {
    return splat<V>(1);
  }
};

struct Gelu : Apart<Gelu> {
  static constexpr const char* name = "gelu";
  static constexpr Activation id = Activation::gelu;
  template <class V>
  static PF_INLINE V value(V x) {
    return copysign(gelu_erf(x), x);  // a half less itself is +0, also at -0 and far below it
  }
  template <class V>
  static PF_INLINE V derivative(V x) {
    return gelu_erf_derivative(x);
  }
};

struct GeluTanh {
  static constexpr const char* name = "gelu_tanh";
  static constexpr Activation id = Activation::gelu_tanh;
  template <class V>
  static PF_INLINE V value(V x) {
    return gelu_tanh(x);
  }
  template <class V>
  static PF_INLINE V derivative(V x) {
    return gelu_tanh_derivative(x);
  }
  template <class V>
  static PF_INLINE void both(V x, V* value, V* derivative) {
    gelu_tanh_with_derivative(x, value, derivative);
  }
};

struct Relu : Apart<Relu> {
  static constexpr const char* name = "relu";
  static constexpr Activation id = Activation::relu;
  template <class V>
  static PF_INLINE V value(V x) {
    return select(x <= splat<V>(0), splat<V>(0), x);
  }
  template <class V>
  static PF_INLINE V derivative(V x) {
    return select(x <= splat<V>(0), splat<V>(0), splat<V>(1));
  }
};

struct Silu : Apart<Silu> {
  static constexpr const char* name = "silu";
  static constexpr Activation id = Activation::silu;
  template <class V>
  static PF_INLINE V value(V x) {
    return silu(x);
  }
  template <class V>
  static PF_INLINE V derivative(V x) {
    return silu_derivative(x);
  }
};

struct Tanh {
  static constexpr const char* name = "tanh";
  static constexpr Activation id = Activation::tanh;
  template <class V>
  static PF_INLINE V value(V x) {
    return PF_ISA::tanh(x);
  }
  template <class V>
  static PF_INLINE V slope_at(V out) {
    return splat<V>(1) - out * out;
  }
  template <class V>
  static PF_INLINE V derivative(V x) {
    return slope_at(value(x));
  }
  template <class V>
  static PF_INLINE void both(V x, V* out, V* derivative) {
    *out = value(x);
    *derivative = slope_at(*out);
  }
};

struct Sigmoid {
  static constexpr const char* name = "sigmoid";
  static constexpr Activation id = Activation::sigmoid;
  template <class V>
  static PF_INLINE V value(V x) {
    return sigmoid(x);
  }
  template <class V>
  static PF_INLINE V slope_at(V out) {
    return out * (splat<V>(1) - out);
  }
  template <class V>
  static PF_INLINE V derivative(V x) {
    return slope_at(value(x));
  }
  template <class V>
  static PF_INLINE void both(V x, V* out, V* derivative) {
    *out = value(x);
    *derivative = slope_at(*out);
  }
};

template <class... A>
struct List {
  static constexpr const char* names[] = {A::name...};
  static constexpr bool is_in_order() {
    int i = 0;
    return ((int(A::id) == i++) && ...) && i == kActivationCount;
  }
  // f.operator()<A>() for the struct of an activation.
  template <class F>
  static PF_INLINE void with(Activation wanted, const F& f) {
    (void)((wanted == A::id && (f.template operator()<A>(), true)) || ...);
  }
};
using All = List<None, Gelu, GeluTanh, Relu, Silu, Tanh, Sigmoid>;
static_assert(All::is_in_order(), "enum Activation has the list's order");

}  // namespace pyformer::PF_ISA::activations

namespace pyformer::PF_ISA {

// A gradient times a slope. A zero on either side is not multiplied, as it stands for "nothing passes here": a closed
// ReLU keeps back an infinite gradient, and a gradient of 0, such as where() gives to what it did not choose, stays 0
// whatever the slope.
template <Real V>
PF_INLINE V times_slope(V gradient, V slope) {
  const V zero = splat<V>(0);
  return select(mask_or(gradient == zero, slope == zero), zero, gradient * slope);
}

// Calls f.operator()<A>() with the struct of an activation.
template <class F>
PF_INLINE void with_activation(Activation activation, const F& f) {
  activations::All::with(activation, f);
}

}  // namespace pyformer::PF_ISA
