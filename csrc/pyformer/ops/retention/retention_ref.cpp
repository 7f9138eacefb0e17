// What retention does beside products, plain loops.
#include "pyformer/ops/retention/retention_kernels.h"

#include <cstring>

#include "pyformer/base/vec.h"

namespace pyformer::PF_ISA {

template <class T>
static void powers(const RetentionPowers& a, int64_t, int64_t) {
  constexpr int64_t L = kRetentionChunk;
  a.offender[0] = -1;
  for (int64_t h = 0; h < a.heads; ++h) {
    const double g = double(static_cast<const T*>(a.decay)[h]);
    if (!(g > 0 && g <= 1) && a.offender[0] < 0) {
      a.offender[0] = h;
      std::memcpy(a.offender + 1, &g, 8);
    }
    double power = 1;
    for (int64_t i = 0; i <= L; ++i, power *= g) static_cast<T*>(a.powers)[h * (L + 1) + i] = T(power);
  }
}

template <class T>
static void scale_rows(const RetentionScaleRows& a, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const T* x = static_cast<const T*>(a.x) + i * a.x_stride;
    T* out = static_cast<T*>(a.out) + i * a.out_stride;
    if (!a.x || !a.factor) {
      for (int64_t c = 0; c < a.cols; ++c) out[c] = a.x ? x[c] : T(0);
      continue;
    }
    const T factor = static_cast<const T*>(a.factor)[i * a.step];
    for (int64_t c = 0; c < a.cols; ++c) out[c] = x[c] * factor;
  }
}

template <class T>
static void decay_scores(const RetentionDecayScores& a, int64_t begin, int64_t end) {
  const T* powers = static_cast<const T*>(a.powers);
  for (int64_t i = begin; i < end; ++i) {
    T* row = static_cast<T*>(a.scores) + i * a.stride;
    for (int64_t j = 0; j <= i; ++j) row[j] = row[j] * powers[i - j];
    for (int64_t j = i + 1; j < a.rows; ++j) row[j] = T(0);
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const RetentionPartsTable& KernelsOf<RetentionPartsTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr RetentionPartsTable table = {{{powers<float>, powers<double>}},
                                                {{scale_rows<float>, scale_rows<double>}},
                                                {{decay_scores<float>, decay_scores<double>}}};
  return table;
}
}  // namespace pyformer
