// random, an element at a time from the words of its counter, as philox.h defines them.
#include "pyformer/ops/random/random_elements.h"

#include "pyformer/base/element.h"

namespace pyformer::PF_ISA {

template <class T>
static void uniform(const RandomFill& a, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) to<T>(a.out)[i] = uniform_at(a, i, T());
}
template <class T>
static void normal(const RandomFill& a, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) to<T>(a.out)[i] = normal_at(a, i, Accumulator<T>());
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const RandomTable& KernelsOf<RandomTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr RandomTable table = {
      for_each_float<Kernel<RandomFill>>([]<class T>() -> Kernel<RandomFill> { return uniform<T>; }),
      for_each_float<Kernel<RandomFill>>([]<class T>() -> Kernel<RandomFill> { return normal<T>; })};
  return table;
}
}  // namespace pyformer
