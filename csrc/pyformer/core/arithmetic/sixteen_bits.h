// One rounding from a wider number to bfloat16 or float16: `before_rounding(x)` is a float that to_bfloat16 and
// to_float16 round to what x itself rounds to. Rounding x to the nearest float would not do: where that lies half-way
// between two 16-bit numbers, it no longer says on which side of the half x was.
#pragma once
#include "pyformer/base/dtype.h"

namespace pyformer {

PF_ALWAYS_INLINE float before_rounding(float x) { return x; }

// Round to odd: of the two floats around x the one whose last bit is set, which is never half-way.
PF_ALWAYS_INLINE float before_rounding(double x) {
  const float nearest = float(x);
  const uint32_t bits = float_bits(nearest);
  const bool is_exact = double(nearest) == x || x != x, is_odd = bits & 1;
  const bool is_further_from_0 = (double(nearest) > x) == (x > 0);
  return is_exact || is_odd ? nearest : float_of_bits(is_further_from_0 ? bits - 1 : bits + 1);
}

// A double holds an integer below 2^53. Of one above, bit 10 tells whether there were bits that a double has no room
// for.
PF_ALWAYS_INLINE float before_rounding(int64_t x) {
  constexpr int64_t kExact = int64_t(1) << 53;
  const int64_t low = x & 0x7ff;
  return before_rounding(double(x > -kExact && x < kExact ? x : x - low + (low ? 0x400 : 0)));
}

PF_ALWAYS_INLINE float before_rounding(int32_t x) { return before_rounding(double(x)); }

}  // namespace pyformer
