// The sum of products of two rows of bfloat16, as x86's matrix units take it (TDPBF16PS), in plain C:
//
//   c = +0 or the sum of earlier blocks; for each block of 32 k, the last one filled up with pairs of +0:
//     even = fma(a[k], b[k], even) from +0 over the block's even k in order; odd likewise over its odd k
//     c = c + (even + odd)
//
// Each step is one float32 operation, rounded to nearest even. Denormals are zeros, with their sign, going in and
// coming out; a result that is tiny after rounding counts as one (2^-126 is normal). c stays float32 between blocks, so
// a sum may be continued at any multiple of 32. For *_ref.cpp.
#pragma once
#include "pyformer/base/vec.h"

namespace pyformer::PF_ISA {

constexpr int64_t kBFloat16Block = 32;

// x, or a zero of its sign where |x| < 2^-126.
PF_INLINE float flush_denormal(float x) { return abs(x) < 0x1p-126f ? copysign(0.0f, x) : x; }

// fma(a, b, c) where denormals are zeros, for bfloat16's values a and b: their product is exact in double.
PF_INLINE float flushing_fma(float a, float b, float c) {
  a = flush_denormal(a);
  b = flush_denormal(b);
  c = flush_denormal(c);
  const float sum = fma(a, b, c);
  if (abs(sum) > 0x1p-126f || sum != sum) return sum;
  if (abs(sum) < 0x1p-126f) return copysign(0.0f, sum);
  // 2^-126 after rounding among denormals. With 24 bits whatever the exponent, what is below 2^-126 - 2^-151 would have
  // stayed below 2^-126. high + low is the sum exactly.
  const double p = abs(sum) == sum ? double(a) * b : -(double(a) * b), q = abs(sum) == sum ? c : -double(c);
  const double high = p + q, rest = high - p, low = (p - (high - rest)) + (q - rest);
  const double bound = 0x1p-126 - 0x1p-151;
  return high < bound || (high == bound && low < 0) ? copysign(0.0f, sum) : sum;
}

// a(i) and b(i), i < k, give bfloat16's values as float; continues the sum c.
template <class A, class B>
PF_INLINE float bfloat16_dot(int64_t k, const A& a, const B& b, float c = 0.0f) {
  for (int64_t start = 0; start < k; start += kBFloat16Block) {
    float even = 0.0f, odd = 0.0f;
    for (int64_t i = start; i < start + kBFloat16Block; i += 2) {
      even = i < k ? flushing_fma(a(i), b(i), even) : even + 0.0f;
      odd = i + 1 < k ? flushing_fma(a(i + 1), b(i + 1), odd) : odd + 0.0f;
    }
    c = flush_denormal(flush_denormal(c) + flush_denormal(even + odd));
  }
  return c;
}

}  // namespace pyformer::PF_ISA
