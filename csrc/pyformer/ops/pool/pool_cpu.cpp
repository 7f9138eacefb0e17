// pool, vector code for one instruction set.
#include "pyformer/ops/pool/pool_planes.h"

namespace pyformer {
template <>
const PoolTable& KernelsOf<PoolTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr PoolTable table = {{{max_pool<float>, max_pool<double>}},
                                      {{max_pool_gradient<float>, max_pool_gradient<double>}},
                                      {{avg_pool<float>, avg_pool<double>}},
                                      {{avg_pool_gradient<float>, avg_pool_gradient<double>}}};
  return table;
}
}  // namespace pyformer
