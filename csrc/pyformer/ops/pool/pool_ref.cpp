// pool, plain loops; vector code is the same loops compiled for each instruction set.
#include "pyformer/ops/pool/pool_planes.h"

namespace pyformer {
template <>
const PoolTable& KernelsOf<PoolTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr PoolTable table = {
      for_each_float<Kernel<MaxPool>>([]<class T>() -> Kernel<MaxPool> { return max_pool<T>; }),
      for_each_float<Kernel<MaxPoolGradient>>(
          []<class T>() -> Kernel<MaxPoolGradient> { return max_pool_gradient<T>; }),
      for_each_float<Kernel<AvgPool>>([]<class T>() -> Kernel<AvgPool> { return avg_pool<T>; }),
      for_each_float<Kernel<AvgPoolGradient>>(
          []<class T>() -> Kernel<AvgPoolGradient> { return avg_pool_gradient<T>; })};
  return table;
}
}  // namespace pyformer
