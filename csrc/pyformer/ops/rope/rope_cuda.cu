// rope: rope_ref.cpp with a thread for each pair, or for each element that is copied. Angles are float64.
#include "pyformer/base/math.h"
#include "pyformer/cuda/kernel.h"
#include "pyformer/ops/rope/rope_kernels.h"

namespace pyformer::cuda {

template <class T>
struct RopePair {
  using Args = Rope;
  static DEVICE void at(const Args& a, int64_t item) {
    using A = Accumulator<T>;
    const int64_t width = a.head_dim - a.pairs;  // pairs, then what is copied
    const Divided d = divided(item, width);
    const int64_t i = d.rest, token = d.quotient / a.heads;
    const auto x = in<T>(a.x) + d.quotient * a.head_dim;
    const auto out = to<T>(a.out) + d.quotient * a.head_dim;
    if (i >= a.pairs) {
      out[i + a.pairs] = A(x[i + a.pairs]);
      return;
    }
    const double position = double(a.positions[token / a.tokens * a.position_batch + token % a.tokens]);
    const SinCos<double> turn = sincos(position * a.frequencies[i]);
    const A c = A(turn.cos), s = a.backward ? A(-turn.sin) : A(turn.sin);
    const int64_t first = a.interleaved ? 2 * i : i, second = a.interleaved ? 2 * i + 1 : i + a.pairs;
    const A x1 = x[first], x2 = x[second];
    out[first] = fma(x1, c, -(x2 * s));
    out[second] = fma(x2, c, x1 * s);
  }
};
template <class T>
static void turn(const Rope& a, int64_t, int64_t tokens) {
  start_items<RopePair<T>>(a, tokens * a.heads * (a.head_dim - a.pairs));
}

template <>
const RopeTable& cuda_table<RopeTable>() {
  static constexpr RopeTable table = {for_each_float<Kernel<Rope>>([]<class T>() -> Kernel<Rope> { return turn<T>; })};
  return table;
}

}  // namespace pyformer::cuda
