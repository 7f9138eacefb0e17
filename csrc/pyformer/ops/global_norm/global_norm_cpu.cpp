// global_norm, vector code for one instruction set; order is that of global_norm_ref.cpp.
#include "pyformer/ops/global_norm/global_norm_kernels.h"

#include "pyformer/base/norm.h"

namespace pyformer::PF_ISA {

template <class T>
static RowStatistics<T> statistics_in_units(const T* x, int64_t n, T scale) {
  const Lanes<T> scales = Lanes<T>::broadcast(scale);
  const T sum = lanes_reduce<T>(n, [&](int64_t i, int64_t part, const Lanes<T>& lanes) {
    const Lanes<T> v = load_lanes(x + i, part) * scales;
    return fma(v, v, lanes);
  });
  return rms_statistics(scale, sum, 0);
}

template <class T>
static void sum_squares(const SumSquares& a, int64_t begin, int64_t end) {
  for (int64_t item = begin; item < end; ++item) {
    const SquaresBlock& block = a.blocks[item];
    const T* x = static_cast<const T*>(block.x);
    const RowStatistics<T> found = in_fitting_units<T>(
        0, [&](T scale) { return statistics_in_units(x, block.count, scale); },
        [&] { return lanes_largest(x, block.count, T(0)); });
    *block.sum = {double(found.square), double(found.row.scale)};
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const GlobalNormTable& KernelsOf<GlobalNormTable, PF_ISA::kIsa>::table() {
  static constexpr GlobalNormTable table = {{{PF_ISA::sum_squares<float>, PF_ISA::sum_squares<double>}}, {}, {}};
  return table;
}
}  // namespace pyformer
