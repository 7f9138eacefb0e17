// global_norm, plain loops: sum of squares of each block in the order of the row-reduction rule, then their total, both
// in units in which squares neither overflow nor vanish (norm.h).
#include "pyformer/ops/global_norm/global_norm_kernels.h"

#include "pyformer/base/element.h"
#include "pyformer/base/norm.h"

namespace pyformer::PF_ISA {

template <class T>
static void sum_squares(const SumSquares& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  for (int64_t item = begin; item < end; ++item) {
    const SquaresBlock& block = a.blocks[item];
    const auto at = in<T>(block.x);
    const auto x = [&](int64_t i) { return A(at[i]); };
    const auto take = [&](A scale) {
      const auto scaled = [&](int64_t i) { return x(i) * scale; };
      return rms_statistics(scale, row_dot<A>(block.count, scaled, scaled), 0);
    };
    const RowStatistics<A> found = in_fitting_units<A>(0, take, [&] { return row_largest(block.count, A(0), x); });
    *block.sum = {double(found.square), double(found.row.scale)};
  }
}

// sqrt(sum) of block i in units of 1 / scale.
static double norm_of_block(const ScaledSquares& s, double scale) { return sqrt(s.sum) * (scale / s.scale); }

static void norm(const NormOfSums& a, int64_t, int64_t) {
  double total = 0;
  for (int64_t i = 0; i < a.count; ++i) total += a.sums[i].sum / a.sums[i].scale / a.sums[i].scale;
  *a.norm = sqrt(total);
  if (has_all_bits(total)) return;
  double largest = 0;
  for (int64_t i = 0; i < a.count; ++i) largest = max(norm_of_block(a.sums[i], 1), largest);
  const double scale = scale_for(largest);
  total = 0;
  for (int64_t i = 0; i < a.count; ++i) {
    const double part = norm_of_block(a.sums[i], scale);
    total += part * part;
  }
  *a.norm = sqrt(total) / scale;
}

static void clip(const ClipFactor& a, int64_t, int64_t) {
  const bool is_finite = *a.norm < __builtin_inf();  // not NaN either
  *a.factor = is_finite && *a.norm > a.max_norm ? a.max_norm / (*a.norm + 1e-6) : 1.0;
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const GlobalNormTable& KernelsOf<GlobalNormTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr GlobalNormTable table = {
      for_each_float<Kernel<SumSquares>>([]<class T>() -> Kernel<SumSquares> { return sum_squares<T>; }),
      {{nullptr, norm}},
      {{nullptr, clip}}};
  return table;
}
}  // namespace pyformer
