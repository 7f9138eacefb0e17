// global_norm: global_norm_ref.cpp, with a team of threads for each block, and one thread for what follows: nobody
// waits for it.
#include "pyformer/base/norm.h"
#include "pyformer/cuda/rows.h"
#include "pyformer/ops/global_norm/global_norm_kernels.h"

namespace pyformer::cuda {

template <class T>
struct SquaresOfBlock {
  using Args = SumSquares;
  template <class Team>
  static DEVICE void at(const Args& a, Team& team, int64_t item) {
    using A = Accumulator<T>;
    const SquaresBlock block = a.blocks[item];
    const auto x = in<T>(block.x);
    const auto take = [&](A scale) {
      const auto scaled = [&](int64_t i) { return x[i] * scale; };
      return rms_statistics(scale, row_dot(team, block.count, scaled, scaled), 0);
    };
    const auto largest = [&] { return max(team.largest(block.count, [&](int64_t i) { return abs(A(x[i])); }), A(0)); };
    const RowStatistics<A> found = in_fitting_units<A>(0, take, largest);
    if (team.is_first()) *block.sum = {double(found.square), double(found.row.scale)};
  }
};
template <class T>
static void sum_squares(const SumSquares& a, int64_t, int64_t blocks) {
  start_rows<SquaresOfBlock<T>, Accumulator<T>>(a, blocks, kReduceBlock);
}

DEVICE double norm_of_block(const ScaledSquares& s, double scale) { return sqrt(s.sum) * (scale / s.scale); }

struct Norm {
  using Args = NormOfSums;
  static DEVICE void at(const Args& a, int64_t) {
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
};

struct Clip {
  using Args = ClipFactor;
  static DEVICE void at(const Args& a, int64_t) {
    const bool is_finite = *a.norm < __builtin_inf();  // not NaN either
    *a.factor = is_finite && *a.norm > a.max_norm ? a.max_norm / (*a.norm + 1e-6) : 1.0;
  }
};

template <>
const GlobalNormTable& cuda_table<GlobalNormTable>() {
  static constexpr GlobalNormTable table = {
      for_each_float<Kernel<SumSquares>>([]<class T>() -> Kernel<SumSquares> { return sum_squares<T>; }),
      {{nullptr, each_item<Norm>}},
      {{nullptr, each_item<Clip>}}};
  return table;
}

}  // namespace pyformer::cuda
