// rope, plain loops. What they define, for the pair (x1, x2) = (x[i], x[i + R]) or, interleaved, (x[2 i], x[2 i + 1]):
//
//   angle = position * frequency[i], c = cos(angle), s = sin(angle)    in float64, c and s then rounded to x's type
//   out1 = x1 * c - x2 * s        each one product and one FMA
//   out2 = x2 * c + x1 * s
//
// Elements from 2 R on are copied. The gradient turns dout by -angle. Source: Su et al. 2021, eq. 34.
#include "pyformer/base/math.h"
#include "pyformer/ops/rope/rope_kernels.h"

namespace pyformer::PF_ISA {

template <class T>
static void turn(const Rope& a, int64_t begin, int64_t end) {
  for (int64_t token = begin; token < end; ++token) {
    const double position = double(a.positions[token / a.tokens * a.position_batch + token % a.tokens]);
    for (int64_t head = 0; head < a.heads; ++head) {
      const T* x = static_cast<const T*>(a.x) + (token * a.heads + head) * a.head_dim;
      T* out = static_cast<T*>(a.out) + (token * a.heads + head) * a.head_dim;
      for (int64_t i = 0; i < a.pairs; ++i) {
        const double angle = position * a.frequencies[i];
        const T c = T(cos(angle)), s = a.backward ? T(-sin(angle)) : T(sin(angle));
        const int64_t first = a.interleaved ? 2 * i : i, second = a.interleaved ? 2 * i + 1 : i + a.pairs;
        const T x1 = x[first], x2 = x[second];
        out[first] = fma(x1, c, -(x2 * s));
        out[second] = fma(x2, c, x1 * s);
      }
      for (int64_t d = 2 * a.pairs; d < a.head_dim; ++d) out[d] = x[d];
    }
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const RopeKernels& rope_kernels<PF_ISA::kIsa>() {
  static constexpr RopeKernels kernels = {{PF_ISA::turn<float>, PF_ISA::turn<double>}};
  return kernels;
}
}  // namespace pyformer
