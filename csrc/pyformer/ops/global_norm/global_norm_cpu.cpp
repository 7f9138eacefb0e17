// global_norm, vector code for one instruction set; order is that of global_norm_ref.cpp.
#include "pyformer/ops/global_norm/global_norm_kernels.h"

#include "pyformer/base/reduce.h"

namespace pyformer::PF_ISA {

template <class T>
static void sum_squares(const SumSquares& a, int64_t begin, int64_t end) {
  for (int64_t item = begin; item < end; ++item) {
    const SquaresBlock& block = a.blocks[item];
    const T* x = static_cast<const T*>(block.x);
    *block.sum = double(lanes_reduce<T>(block.count, [&](int64_t i, int64_t n, const Lanes<T>& sum) {
      const Lanes<T> v = load_lanes(x + i, n);
      return fma(v, v, sum);
    }));
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
