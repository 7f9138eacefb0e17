// What math_kernels.cpp, compiled once per instruction set, shows to math_test.cpp.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

template <class T>
struct MathCase {
  const char* name;
  void (*vector)(const T* x, T* y, int64_t n);  // by Lanes<T>; n is a multiple of 16
  void (*scalar)(const T* x, T* y, int64_t n);
};

template <class T>
struct MathCases {
  const MathCase<T>* unary;
  int count;
  void (*pow_vector)(const T* x, const T* y, T* z, int64_t n);
  void (*pow_scalar)(const T* x, const T* y, T* z, int64_t n);
  void (*uniform)(uint64_t seed, uint64_t stream, uint64_t begin, int64_t n, T* out);
  void (*normal)(uint64_t seed, uint64_t stream, uint64_t begin, int64_t n, T* out);
};

struct MathFunctions {
  MathCases<float> f32;
  MathCases<double> f64;
  void (*words)(uint64_t seed, uint64_t stream, uint64_t begin, int64_t n, uint32_t* out);
  void (*philox)(const uint32_t* counter, const uint32_t* key, uint32_t* out);
};

template <Isa>
const MathFunctions& math_functions();

}  // namespace pyformer
