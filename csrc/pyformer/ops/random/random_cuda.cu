// random: random_ref.cpp with a thread for each element.
#include "pyformer/cuda/kernel.h"
#include "pyformer/ops/random/random_elements.h"

namespace pyformer::cuda {

DEVICE RandomFill of_this_replay(RandomFill a) {
  if (!a.replayed) return a;
  a.seed = a.replayed[0];
  a.stream = a.replayed[1];
  return a;
}

template <class T>
struct UniformElement {
  using Args = RandomFill;
  static DEVICE void at(const Args& a, int64_t i) { to<T>(a.out)[i] = uniform_at(of_this_replay(a), i, T()); }
};
template <class T>
struct NormalElement {
  using Args = RandomFill;
  static DEVICE void at(const Args& a, int64_t i) {
    to<T>(a.out)[i] = normal_at(of_this_replay(a), i, Accumulator<T>());
  }
};

template <>
const RandomTable& cuda_table<RandomTable>() {
  static constexpr RandomTable table = {
      for_each_float<Kernel<RandomFill>>([]<class T>() -> Kernel<RandomFill> { return each_item<UniformElement<T>>; }),
      for_each_float<Kernel<RandomFill>>([]<class T>() -> Kernel<RandomFill> { return each_item<NormalElement<T>>; })};
  return table;
}

}  // namespace pyformer::cuda
