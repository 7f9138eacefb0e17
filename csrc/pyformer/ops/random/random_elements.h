// Element i of random's tensors, as philox.h defines it: for random_ref.cpp and random_cuda.cu.
#pragma once
#include "pyformer/base/philox.h"
#include "pyformer/ops/random/random_kernels.h"

namespace pyformer::PF_ISA {

PF_INLINE uint32_t word(const RandomFill& a, int64_t i) { return philox_word(a.seed, a.stream, uint64_t(i)); }
PF_INLINE uint64_t wide_word(const RandomFill& a, int64_t i) {
  return uint64_t(word(a, 2 * i)) | uint64_t(word(a, 2 * i + 1)) << 32;
}

PF_INLINE float uniform_at(const RandomFill& a, int64_t i, float) { return float(word(a, i) >> 8) * 0x1p-24f; }
PF_INLINE double uniform_at(const RandomFill& a, int64_t i, double) { return double(wide_word(a, i) >> 11) * 0x1p-53; }

// The 16-bit types round to the nearest; the largest of their numbers below 1 stands for all that would become 1.
PF_INLINE float uniform_at(const RandomFill& a, int64_t i, BFloat16) {
  const float u = uniform_at(a, i, 0.0f);
  return u < 1.0f - 0x1p-8f ? u : 1.0f - 0x1p-8f;
}
PF_INLINE float uniform_at(const RandomFill& a, int64_t i, Float16) {
  const float u = uniform_at(a, i, 0.0f);
  return u < 1.0f - 0x1p-11f ? u : 1.0f - 0x1p-11f;
}

// r * (cos, sin)(angle) with r = sqrt(-2 log(u)), u in (0, 1], angle in [-pi, pi].
PF_INLINE float normal_at(const RandomFill& a, int64_t i, float) {
  const float u = fma(float(word(a, i & ~int64_t(1)) >> 1), 0x1p-31f, 0x1p-32f);
  const SinCos<float> direction = sincos(float(int32_t(word(a, i | 1))) * 0x1.921fb6p-30f);
  return sqrt(-2.0f * log(u)) * (i % 2 ? direction.sin : direction.cos);
}
PF_INLINE double normal_at(const RandomFill& a, int64_t i, double) {
  const double u = fma(double(wide_word(a, i & ~int64_t(1)) >> 11), 0x1p-53, 0x1p-54);
  const SinCos<double> direction = sincos(double(int64_t(wide_word(a, i | 1)) >> 11) * 0x1.921fb54442d18p-51);
  return sqrt(-2.0 * log(u)) * (i % 2 ? direction.sin : direction.cos);
}

}  // namespace pyformer::PF_ISA
