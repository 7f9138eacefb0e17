// global_norm, plain loops: sum of squares of each block in the order of the row-reduction rule.
#include "pyformer/ops/global_norm/global_norm_kernels.h"

#include "pyformer/base/reduce.h"

namespace pyformer::PF_ISA {

template <class T>
static void sum_squares(const SumSquares& a, int64_t begin, int64_t end) {
  for (int64_t item = begin; item < end; ++item) {
    const SquaresBlock& block = a.blocks[item];
    const T* x = static_cast<const T*>(block.x);
    *block.sum = double(row_dot<T>(block.count, [&](int64_t i) { return x[i]; }, [&](int64_t i) { return x[i]; }));
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const GlobalNormKernels& global_norm_kernels<PF_ISA::kIsa>() {
  static constexpr GlobalNormKernels kernels = {{PF_ISA::sum_squares<float>, PF_ISA::sum_squares<double>}};
  return kernels;
}
}  // namespace pyformer
