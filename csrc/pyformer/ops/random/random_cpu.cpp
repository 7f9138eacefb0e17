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
const RandomKernels& random_kernels<PF_ISA::kIsa>() {
  static constexpr RandomKernels kernels = {{PF_ISA::uniform<float>, PF_ISA::uniform<double>},
                                            {PF_ISA::normal<float>, PF_ISA::normal<double>}};
  return kernels;
}
}  // namespace pyformer
