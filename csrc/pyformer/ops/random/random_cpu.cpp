// random, vector code for one instruction set: whole blocks of counters at a time (philox.h).
#include "pyformer/ops/random/random_kernels.h"

#include "pyformer/base/philox.h"

namespace pyformer::PF_ISA {

template <class T>
static void uniform(const RandomFill& a, int64_t begin, int64_t end) {
  random_uniform(a.seed, a.stream, uint64_t(begin), end - begin, static_cast<T*>(a.out) + begin);
}
template <class T>
static void normal(const RandomFill& a, int64_t begin, int64_t end) {
  random_normal(a.seed, a.stream, uint64_t(begin), end - begin, static_cast<T*>(a.out) + begin);
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const RandomTable& KernelsOf<RandomTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr RandomTable table = {{{uniform<float>, uniform<double>}}, {{normal<float>, normal<double>}}};
  return table;
}
}  // namespace pyformer
