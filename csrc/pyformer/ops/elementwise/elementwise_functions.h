// The formulas of the elementwise ops, one line each, over V = float, double (reference) or Vec<T> (vector code): the
// same operations in the same order, so every instruction set gives the same bits.
//
//   F::at(x)             or F::at(a, b)            the value
//   F::gradient(d, s)                              the gradient, s the saved value: x, or out where kSavesOut
//   F::da(d, a, b), F::db(d, a, b)                 the two gradients of a binary function, d the output's gradient
#pragma once
#include "pyformer/base/math.h"
#include "pyformer/ops/activation/activation_functions.h"
#include "pyformer/ops/elementwise/elementwise_kernels.h"

namespace pyformer::PF_ISA::elementwise {

// A gradient of 0 stays 0, whatever it would be multiplied with: where() gives 0 to what it did not choose, and an
// infinite or NaN slope there must not turn it into NaN. The loops wrap every gradient in this.
template <class V>
PF_INLINE V unless_zero(V d, V gradient) {
  return select(d == splat<V>(0), splat<V>(0), gradient);
}

struct Add {
  template <class V>
  static PF_INLINE V at(V a, V b) {
    return a + b;
  }
};
struct Subtract {
  template <class V>
  static PF_INLINE V at(V a, V b) {
    return a - b;
  }
};
struct Multiply {
  template <class V>
  static PF_INLINE V at(V a, V b) {
    return a * b;
  }
};
struct Divide {
  template <class V>
  static PF_INLINE V at(V a, V b) {
    return a / b;
  }
  template <class V>
  static PF_INLINE V db(V d, V a, V b) {
    return -(d * (a / b) / b);
  }
};

// The gradients that are d * b and d / b, b the other operand.
struct MultiplyGradient {
  template <class V>
  static PF_INLINE V at(V d, V b) {
    return unless_zero(d, d * b);
  }
};
struct DivideGradient {
  template <class V>
  static PF_INLINE V at(V d, V b) {
    return unless_zero(d, d / b);
  }
};

// NaN in either operand gives NaN. Of a 0 and a -0, as of all equals, it is b. Each gets half of the gradient then.
struct Maximum {
  template <class V>
  static PF_INLINE V at(V a, V b) {
    return select(a != a, a, select(a > b, a, b));
  }
  template <class V>
  static PF_INLINE V da(V d, V a, V b) {
    return select(a < b, splat<V>(0), select(a == b, d * splat<V>(Element<V>(0.5)), d));
  }
  template <class V>
  static PF_INLINE V db(V d, V a, V b) {
    return da(d, b, a);
  }
};
struct Minimum {
  template <class V>
  static PF_INLINE V at(V a, V b) {
    return select(a != a, a, select(a < b, a, b));
  }
  template <class V>
  static PF_INLINE V da(V d, V a, V b) {
    return select(a > b, splat<V>(0), select(a == b, d * splat<V>(Element<V>(0.5)), d));
  }
  template <class V>
  static PF_INLINE V db(V d, V a, V b) {
    return da(d, b, a);
  }
};

// da = d * b * a^(b - 1), 0 where b = 0;  db = d * a^b * log(a), 0 where a = 0 and b >= 0
struct Power {
  static constexpr bool kIsLong = true;  // beside a load, and to compile
  template <class V>
  static PF_INLINE V at(V a, V b) {
    return pow(a, b);
  }
  template <class V>
  static PF_INLINE V da(V d, V a, V b) {
    return select(b == splat<V>(0), splat<V>(0), d * (b * pow(a, b - splat<V>(1))));
  }
  template <class V>
  static PF_INLINE V db(V d, V a, V b) {
    const V zero = splat<V>(0), value = d * (pow(a, b) * log(a));
    return select(a == zero, select(b >= zero, zero, value), value);
  }
};

struct Negate {
  template <class V>
  static PF_INLINE V at(V x) {
    return -x;
  }
};
struct Exp {
  static constexpr bool kSavesOut = true;
  template <class V>
  static PF_INLINE V at(V x) {
    return exp(x);
  }
  template <class V>
  static PF_INLINE V gradient(V d, V out) {
    return d * out;
  }
};
struct Log {
  static constexpr bool kSavesOut = false;
  template <class V>
  static PF_INLINE V at(V x) {
    return log(x);
  }
  template <class V>
  static PF_INLINE V gradient(V d, V x) {
    return d / x;
  }
};
struct Sqrt {
  static constexpr bool kSavesOut = true;
  template <class V>
  static PF_INLINE V at(V x) {
    return sqrt(x);
  }
  template <class V>
  static PF_INLINE V gradient(V d, V out) {
    return d / (out + out);
  }
};
struct Abs {
  static constexpr bool kSavesOut = false;
  template <class V>
  static PF_INLINE V at(V x) {
    return abs(x);
  }
  template <class V>
  static PF_INLINE V gradient(V d, V x) {
    return select(x > splat<V>(0), d, select(x < splat<V>(0), -d, d * x));  // d * x: 0 at 0, NaN at NaN
  }
};
struct Sin {
  static constexpr bool kSavesOut = false;
  template <class V>
  static PF_INLINE V at(V x) {
    return sin(x);
  }
  template <class V>
  static PF_INLINE V gradient(V d, V x) {
    return d * cos(x);
  }
};
struct Cos {
  static constexpr bool kSavesOut = false;
  template <class V>
  static PF_INLINE V at(V x) {
    return cos(x);
  }
  template <class V>
  static PF_INLINE V gradient(V d, V x) {
    return -(d * sin(x));
  }
};
struct Square {
  static constexpr bool kSavesOut = false;
  template <class V>
  static PF_INLINE V at(V x) {
    return x * x;
  }
  template <class V>
  static PF_INLINE V gradient(V d, V x) {
    return d * (x + x);
  }
};
struct Tanh {
  static constexpr bool kSavesOut = true;
  template <class V>
  static PF_INLINE V at(V x) {
    return activations::Tanh::value(x);
  }
  template <class V>
  static PF_INLINE V gradient(V d, V out) {
    return times_slope(d, activations::Tanh::slope_at(out));
  }
};
struct Sigmoid {
  static constexpr bool kSavesOut = true;
  template <class V>
  static PF_INLINE V at(V x) {
    return activations::Sigmoid::value(x);
  }
  template <class V>
  static PF_INLINE V gradient(V d, V out) {
    return times_slope(d, activations::Sigmoid::slope_at(out));
  }
};
struct Relu {
  static constexpr bool kSavesOut = true;
  template <class V>
  static PF_INLINE V at(V x) {
    return activations::Relu::value(x);
  }
  template <class V>
  static PF_INLINE V gradient(V d, V out) {
    return times_slope(d, activations::Relu::derivative(out));  // out <= 0 where x <= 0
  }
};
struct Silu {
  static constexpr bool kSavesOut = false;
  template <class V>
  static PF_INLINE V at(V x) {
    return activations::Silu::value(x);
  }
  template <class V>
  static PF_INLINE V gradient(V d, V x) {
    return times_slope(d, activations::Silu::derivative(x));
  }
};

// The same function under the name that the gradient loops call.
template <class F>
struct GradientOfA {
  template <class V>
  static PF_INLINE V at(V d, V a, V b) {
    return F::da(d, a, b);
  }
};
template <class F>
struct GradientOfB {
  template <class V>
  static PF_INLINE V at(V d, V a, V b) {
    return F::db(d, a, b);
  }
};

// ---- the table, from a class of loops ---------------------------------------------------------------------------

// Entries of get.operator()<T>() for the floats that the loops have.
template <class Loops, class Args, class Get>
static constexpr void put(PerDtype<Kernel<Args>>& row, const Get& get) {
  row = Loops::template floats<Kernel<Args>>(get);
}

template <class Loops, class F>
static constexpr void put(PerDtype<Kernel<Binary>>& row) {
  put<Loops>(row, []<class T>() -> Kernel<Binary> { return Loops::template binary<F, T>; });
}
template <class Loops, class F>
static constexpr void put(PerDtype<Kernel<BinaryGradient>>& row) {
  put<Loops>(row, []<class T>() -> Kernel<BinaryGradient> { return Loops::template binary_gradient<F, T>; });
}
template <class Loops, class F>
static constexpr void put(PerDtype<Kernel<Unary>>& row) {
  put<Loops>(row, []<class T>() -> Kernel<Unary> { return Loops::template unary<F, T>; });
}
template <class Loops, class F>
static constexpr void put(PerDtype<Kernel<UnaryGradient>>& row) {
  put<Loops>(row, []<class T>() -> Kernel<UnaryGradient> { return Loops::template unary_gradient<F, T>; });
}

template <class Loops>
static constexpr ElementwiseTable table_of() {
  ElementwiseTable k = {};
  put<Loops, Add>(k.add);
  put<Loops, Subtract>(k.subtract);
  put<Loops, Multiply>(k.multiply);
  put<Loops, Divide>(k.divide);
  put<Loops, MultiplyGradient>(k.multiply_gradient);
  put<Loops, DivideGradient>(k.divide_gradient);
  put<Loops, Maximum>(k.maximum);
  put<Loops, Minimum>(k.minimum);
  put<Loops, Power>(k.power);
  put<Loops, GradientOfB<Divide>>(k.divide_db);
  put<Loops, GradientOfA<Maximum>>(k.maximum_da);
  put<Loops, GradientOfB<Maximum>>(k.maximum_db);
  put<Loops, GradientOfA<Minimum>>(k.minimum_da);
  put<Loops, GradientOfB<Minimum>>(k.minimum_db);
  put<Loops, GradientOfA<Power>>(k.power_da);
  put<Loops, GradientOfB<Power>>(k.power_db);
  put<Loops, Negate>(k.negate);
  put<Loops, Exp>(k.exp);
  put<Loops, Exp>(k.exp_dx);
  put<Loops, Log>(k.log);
  put<Loops, Log>(k.log_dx);
  put<Loops, Sqrt>(k.sqrt);
  put<Loops, Sqrt>(k.sqrt_dx);
  put<Loops, Abs>(k.abs);
  put<Loops, Abs>(k.abs_dx);
  put<Loops, Sin>(k.sin);
  put<Loops, Sin>(k.sin_dx);
  put<Loops, Cos>(k.cos);
  put<Loops, Cos>(k.cos_dx);
  put<Loops, Square>(k.square);
  put<Loops, Square>(k.square_dx);
  put<Loops, Tanh>(k.tanh);
  put<Loops, Tanh>(k.tanh_dx);
  put<Loops, Sigmoid>(k.sigmoid);
  put<Loops, Sigmoid>(k.sigmoid_dx);
  put<Loops, Relu>(k.relu);
  put<Loops, Relu>(k.relu_dx);
  put<Loops, Silu>(k.silu);
  put<Loops, Silu>(k.silu_dx);
  return k;
}

}  // namespace pyformer::PF_ISA::elementwise
