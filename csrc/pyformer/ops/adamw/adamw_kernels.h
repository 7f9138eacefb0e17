// What adamw's kernels see. Work item: one piece, consecutive elements of one parameter.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

// All but param are in the accumulator of its dtype.
struct AdamWPiece {
  void* param;
  void* master;  // what is stepped: param itself, or of 16-bit floats a float32 copy, rounded into param
  const void* grad;
  void* exp_avg;
  void* exp_avg_sq;
  int64_t count;
};

struct AdamWStep {
  const AdamWPiece* pieces;
  int64_t count;
  double decay;   // 1 - lr * weight_decay
  double blend1;  // 1 - beta1
  double beta2;
  double blend2;      // 1 - beta2
  double correction;  // sqrt(1 - beta2^step)
  double eps;
  double step_size;  // lr / (1 - beta1^step)
  int64_t items() const { return count; }
  int64_t grain() const { return 1; }
};

// The largest gradient whose square, and any average of such, is finite in T.
template <class T>
constexpr T kLargestSquared = sizeof(T) == 8 ? T(0x1p511) : T(0x1p63);
// A gradient as it is squared: a larger one counts as the largest; infinities and NaN stay.
template <class A>
PF_ALWAYS_INLINE A squarable(A grad) {
  constexpr A most = kLargestSquared<A>;
  if (!(grad - grad == A(0))) return grad;
  return grad > most ? most : grad < -most ? -most : grad;
}

struct AdamWTable {
  static constexpr const char* name = "adamw";
  PerDtype<Kernel<AdamWStep>> step;
};

}  // namespace pyformer
