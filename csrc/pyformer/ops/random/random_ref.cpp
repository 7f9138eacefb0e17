// random, an element at a time from the words of its counter, as philox.h defines them.
#include "pyformer/ops/random/random_kernels.h"

#include "pyformer/base/element.h"
#include "pyformer/base/philox.h"

namespace pyformer::PF_ISA {

static uint32_t word(const RandomFill& a, int64_t i) {
  return philox(a.seed, a.stream, uint64_t(i) / 4).word[uint64_t(i) % 4];
}
static uint64_t wide_word(const RandomFill& a, int64_t i) {
  return uint64_t(word(a, 2 * i)) | uint64_t(word(a, 2 * i + 1)) << 32;
}

static float uniform_at(const RandomFill& a, int64_t i, float) { return float(word(a, i) >> 8) * 0x1p-24f; }
static double uniform_at(const RandomFill& a, int64_t i, double) { return double(wide_word(a, i) >> 11) * 0x1p-53; }

// r * (cos, sin)(angle) with r = sqrt(-2 log(u)), u in (0, 1], angle in [-pi, pi].
static float normal_at(const RandomFill& a, int64_t i, float) {
  const float u = fma(float(word(a, i & ~int64_t(1)) >> 1), 0x1p-31f, 0x1p-32f);
  const SinCos<float> direction = sincos(float(int32_t(word(a, i | 1))) * 0x1.921fb6p-30f);
  return sqrt(-2.0f * log(u)) * (i % 2 ? direction.sin : direction.cos);
}
static double normal_at(const RandomFill& a, int64_t i, double) {
  const double u = fma(double(wide_word(a, i & ~int64_t(1)) >> 11), 0x1p-53, 0x1p-54);
  const SinCos<double> direction = sincos(double(int64_t(wide_word(a, i | 1)) >> 11) * 0x1.921fb54442d18p-51);
  return sqrt(-2.0 * log(u)) * (i % 2 ? direction.sin : direction.cos);
}

template <class T>
static void uniform(const RandomFill& a, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) to<T>(a.out)[i] = uniform_at(a, i, Accumulator<T>());
}
template <class T>
static void normal(const RandomFill& a, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) to<T>(a.out)[i] = normal_at(a, i, Accumulator<T>());
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const RandomTable& KernelsOf<RandomTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr RandomTable table = {
      for_each_float<Kernel<RandomFill>>([]<class T>() -> Kernel<RandomFill> { return uniform<T>; }),
      for_each_float<Kernel<RandomFill>>([]<class T>() -> Kernel<RandomFill> { return normal<T>; })};
  return table;
}
}  // namespace pyformer
