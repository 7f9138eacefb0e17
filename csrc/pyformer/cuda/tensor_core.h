// How tensor cores add, bit by bit (Microsoft's MMA-Sim, arXiv:2511.10909; arXiv:2512.07004). In one step, c + the sum
// of k products: every term is aligned to the largest exponent among them and truncated to F fractional bits, the terms
// are added exactly, and the sum is truncated to a float. A product's exponent is the sum of its factors' exponents,
// also where the product of their significands is 2 or more; a zero's is -126.
//   Hopper, Blackwell  F = 25, all k of the instruction in one step; mma.sync and wgmma alike
//   Ampere, Ada        F = 24, the instruction's k in two steps, the first half first
#pragma once
#include <cstdint>

#include "pyformer/base/dtype.h"

namespace pyformer::emulated {

// A row of A or a column of B: up to 16 factors.
struct Factors {
  double value[16];
  int exponent[16];
  void set(int k, BFloat16 x);
  void set(int k, Float16 x);
  void set_tf32(int k, float x);  // the 13 lowest bits are ignored
};

// c + a b over `count` factors (16, 8 or 4), as settings.tensor_core says.
float tensor_core_dot(const Factors& a, const Factors& b, int count, float c);

}  // namespace pyformer::emulated
