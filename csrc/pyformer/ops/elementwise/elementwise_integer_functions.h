// The functions of integers, which wrap around, comparisons, logic and selection, a structure each: F::at(a, b).
#pragma once
#include "pyformer/base/element.h"

namespace pyformer::PF_ISA::elementwise::integers {

template <class T>
constexpr bool kIsSigned = T(-1) < T(0);

// Arithmetic on the unsigned type of the same width wraps.
PF_INLINE uint64_t bits(int64_t x) { return uint64_t(x); }
PF_INLINE uint32_t bits(int32_t x) { return uint32_t(x); }
PF_INLINE uint32_t bits(int8_t x) { return uint32_t(x); }
PF_INLINE uint32_t bits(uint8_t x) { return uint32_t(x); }

struct Add {
  template <class T>
  static PF_INLINE T at(T a, T b) {
    return T(bits(a) + bits(b));
  }
};
struct Subtract {
  template <class T>
  static PF_INLINE T at(T a, T b) {
    return T(bits(a) - bits(b));
  }
};
struct Multiply {
  template <class T>
  static PF_INLINE T at(T a, T b) {
    return T(bits(a) * bits(b));
  }
};
struct FloorDivide {  // b is not 0
  template <class T>
  static PF_INLINE T at(T a, T b) {
    if constexpr (!kIsSigned<T>) {
      return T(a / b);
    } else {
      if (b == T(-1)) return T(0 - bits(a));
      const T quotient = T(a / b);
      return quotient * b != a && (a < T(0)) != (b < T(0)) ? T(quotient - 1) : quotient;
    }
  }
};
struct Maximum {
  template <class T>
  static PF_INLINE T at(T a, T b) {
    return a > b ? a : b;
  }
};
struct Minimum {
  template <class T>
  static PF_INLINE T at(T a, T b) {
    return a < b ? a : b;
  }
};
struct Negate {
  template <class T>
  static PF_INLINE T at(T x) {
    return T(0 - bits(x));
  }
};
struct Abs {
  template <class T>
  static PF_INLINE T at(T x) {
    if constexpr (kIsSigned<T>) return x < T(0) ? T(0 - bits(x)) : x;
    return x;
  }
};
struct Square {
  template <class T>
  static PF_INLINE T at(T x) {
    return T(bits(x) * bits(x));
  }
};
struct Equal {
  template <class T>
  static PF_INLINE bool at(T a, T b) {
    return a == b;
  }
};
struct NotEqual {
  template <class T>
  static PF_INLINE bool at(T a, T b) {
    return a != b;
  }
};
struct Less {
  template <class T>
  static PF_INLINE bool at(T a, T b) {
    return a < b;
  }
};
struct LessEqual {
  template <class T>
  static PF_INLINE bool at(T a, T b) {
    return a <= b;
  }
};

struct And {
  static PF_INLINE bool at(bool a, bool b) { return a && b; }
};
struct Or {
  static PF_INLINE bool at(bool a, bool b) { return a || b; }
};
struct Not {
  static PF_INLINE bool at(bool x) { return !x; }
};

// T, unsigned, only sets the width of an element. Masks instead of branches: conditions are often random.
template <class T>
PF_INLINE T chosen(bool cond, T a, T b) {
  const T mask = T(0) - T(cond);
  return T((a & mask) | (b & ~mask));
}

}  // namespace pyformer::PF_ISA::elementwise::integers
