// rope, plain loops. What they define, for the pair (x1, x2) = (x[i], x[i + R]) or, interleaved, (x[2 i], x[2 i + 1]):
//
//   angle = position * frequency[i], c = cos(angle), s = sin(angle)    in float64, c and s then rounded to x's type,
//   float32 for 16 bits out1 = x1 * c - x2 * s        each one product and one FMA out2 = x2 * c + x1 * s
//
// Elements from 2 R on are copied. The gradient turns dout by -angle. Source: Su et al. 2021, eq. 34.
#include "pyformer/base/element.h"
#include "pyformer/base/math.h"
#include "pyformer/ops/rope/rope_kernels.h"

namespace pyformer::PF_ISA {

template <class T>
static void turn(const Rope& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  for (int64_t token = begin; token < end; ++token) {
    const double position = double(a.positions[token / a.tokens * a.position_batch + token % a.tokens]);
    for (int64_t head = 0; head < a.heads; ++head) {
      const auto x = in<T>(a.x) + (token * a.heads + head) * a.head_dim;
      const auto out = to<T>(a.out) + (token * a.heads + head) * a.head_dim;
      for (int64_t i = 0; i < a.pairs; ++i) {
        const double angle = position * a.frequencies[i];
        const A c = A(cos(angle)), s = a.backward ? A(-sin(angle)) : A(sin(angle));
        const int64_t first = a.interleaved ? 2 * i : i, second = a.interleaved ? 2 * i + 1 : i + a.pairs;
        const A x1 = x[first], x2 = x[second];
        out[first] = fma(x1, c, -(x2 * s));
        out[second] = fma(x2, c, x1 * s);
      }
      for (int64_t d = 2 * a.pairs; d < a.head_dim; ++d) out[d] = A(x[d]);
    }
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const RopeTable& KernelsOf<RopeTable, PF_ISA::kIsa>::table() {
  static constexpr RopeTable table = {
      for_each_float<Kernel<Rope>>([]<class T>() -> Kernel<Rope> { return PF_ISA::turn<T>; })};
  return table;
}
}  // namespace pyformer
