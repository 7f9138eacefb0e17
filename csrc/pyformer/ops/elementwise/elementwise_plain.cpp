// Integer arithmetic and comparisons: plain loops, the same for every instruction set.
#include "pyformer/ops/elementwise/elementwise_kernels.h"

namespace pyformer {
namespace {

// Arithmetic on the unsigned type of the same width wraps.
template <class T>
struct Unsigned;
template <>
struct Unsigned<int64_t> {
  using type = uint64_t;
};
template <>
struct Unsigned<int32_t> {
  using type = uint32_t;
};
template <class T>
constexpr typename Unsigned<T>::type bits(T x) {
  return typename Unsigned<T>::type(x);
}

struct Add {
  template <class T>
  static T at(T a, T b) {
    return T(bits(a) + bits(b));
  }
};
struct Subtract {
  template <class T>
  static T at(T a, T b) {
    return T(bits(a) - bits(b));
  }
};
struct Multiply {
  template <class T>
  static T at(T a, T b) {
    return T(bits(a) * bits(b));
  }
};
struct FloorDivide {  // b is not 0
  template <class T>
  static T at(T a, T b) {
    if (b == -1) return T(0 - bits(a));
    const T quotient = a / b;
    return quotient * b != a && (a < 0) != (b < 0) ? quotient - 1 : quotient;
  }
};
struct Maximum {
  template <class T>
  static T at(T a, T b) {
    return a > b ? a : b;
  }
};
struct Minimum {
  template <class T>
  static T at(T a, T b) {
    return a < b ? a : b;
  }
};
struct Negate {
  template <class T>
  static T at(T x) {
    return T(0 - bits(x));
  }
};
struct Abs {
  template <class T>
  static T at(T x) {
    return x < 0 ? T(0 - bits(x)) : x;
  }
};
struct Square {
  template <class T>
  static T at(T x) {
    return T(bits(x) * bits(x));
  }
};
struct Equal {
  template <class T>
  static bool at(T a, T b) {
    return a == b;
  }
};
struct NotEqual {
  template <class T>
  static bool at(T a, T b) {
    return a != b;
  }
};
struct Less {
  template <class T>
  static bool at(T a, T b) {
    return a < b;
  }
};
struct LessEqual {
  template <class T>
  static bool at(T a, T b) {
    return a <= b;
  }
};

template <class F, class T, class Out>
void binary(const Binary& args, int64_t begin, int64_t end) {
  walk_rows(args.in, begin, end, [&](const int64_t* at, int64_t start, int64_t n) {
    const T* a = static_cast<const T*>(args.in.data[0]) + at[0];
    const T* b = static_cast<const T*>(args.in.data[1]) + at[1];
    Out* out = static_cast<Out*>(args.out) + start;
    if (args.in.steps[0] && args.in.steps[1]) {
      for (int64_t i = 0; i < n; ++i) out[i] = F::at(a[i], b[i]);
    } else if (args.in.steps[0]) {
      for (int64_t i = 0; i < n; ++i) out[i] = F::at(a[i], *b);
    } else {
      for (int64_t i = 0; i < n; ++i) out[i] = F::at(*a, b[i]);
    }
  });
}

template <class F, class T>
void unary(const Unary& a, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) static_cast<T*>(a.out)[i] = F::at(static_cast<const T*>(a.x)[i]);
}

template <class F>
constexpr void put(Kernel<Binary> (&row)[2]) {
  row[0] = binary<F, int64_t, int64_t>;
  row[1] = binary<F, int32_t, int32_t>;
}
template <class F>
constexpr void put(Kernel<Unary> (&row)[2]) {
  row[0] = unary<F, int64_t>;
  row[1] = unary<F, int32_t>;
}
template <class F>
constexpr void put(Kernel<Binary> (&row)[7]) {  // in the order of DType
  row[0] = binary<F, float, bool>;
  row[1] = binary<F, double, bool>;
  row[4] = binary<F, int64_t, bool>;
  row[5] = binary<F, int32_t, bool>;
  row[6] = binary<F, bool, bool>;
}

constexpr IntegerKernels integers() {
  IntegerKernels k = {};
  put<Add>(k.add);
  put<Subtract>(k.subtract);
  put<Multiply>(k.multiply);
  put<FloorDivide>(k.floor_divide);
  put<Maximum>(k.maximum);
  put<Minimum>(k.minimum);
  put<Negate>(k.negate);
  put<Abs>(k.abs);
  put<Square>(k.square);
  return k;
}

constexpr CompareKernels comparisons() {
  CompareKernels k = {};
  put<Equal>(k.equal);
  put<NotEqual>(k.not_equal);
  put<Less>(k.less);
  put<LessEqual>(k.less_equal);
  return k;
}

}  // namespace

const IntegerKernels& integer_kernels() {
  static constexpr IntegerKernels kernels = integers();
  return kernels;
}

const CompareKernels& compare_kernels() {
  static constexpr CompareKernels kernels = comparisons();
  return kernels;
}

}  // namespace pyformer
