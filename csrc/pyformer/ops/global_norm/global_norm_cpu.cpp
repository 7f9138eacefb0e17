// global_norm, vector code for one instruction set; order is that of global_norm_ref.cpp.
#include "pyformer/ops/global_norm/global_norm_kernels.h"

#include "pyformer/base/norm.h"

namespace pyformer::PF_ISA {

template <class T>
static void sum_blocks(const SumSquares& a, int64_t begin, int64_t end) {
  for (int64_t item = begin; item < end; ++item) {
    const SquaresBlock& block = a.blocks[item];
    const T* x = static_cast<const T*>(block.x);
    const RowStatistics<T> found = in_fitting_units<T>(
        0, [&](T scale) { return rms_statistics(scale, sum_squares(x, block.count, scale), 0); },
        [&] { return lanes_largest(x, block.count, T(0)); });
    *block.sum = {double(found.square), double(found.row.scale)};
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const GlobalNormTable& KernelsOf<GlobalNormTable, PF_ISA::kIsa>::table() {
  static constexpr GlobalNormTable table = {{{PF_ISA::sum_blocks<float>, PF_ISA::sum_blocks<double>}}, {}, {}};
  return table;
}
}  // namespace pyformer
