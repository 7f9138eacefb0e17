// global_norm, plain loops: sum of squares of each block in the order of the row-reduction rule, then their total.
#include "pyformer/ops/global_norm/global_norm_kernels.h"

#include "pyformer/base/element.h"
#include "pyformer/base/reduce.h"

namespace pyformer::PF_ISA {

template <class T>
static void sum_squares(const SumSquares& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  for (int64_t item = begin; item < end; ++item) {
    const auto x = in<T>(a.blocks[item].x);
    const auto value = [&](int64_t i) { return A(x[i]); };
    *a.blocks[item].sum = double(row_dot<A>(a.blocks[item].count, value, value));
  }
}

static void norm(const NormOfSums& a, int64_t, int64_t) {
  double total = 0;
  for (int64_t i = 0; i < a.count; ++i) total += a.sums[i];
  *a.norm = sqrt(total);
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
