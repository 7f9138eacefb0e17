// adamw, plain loops: the formula of adamw.h, an FMA where fma() is written.
#include "pyformer/ops/adamw/adamw_kernels.h"

#include "pyformer/base/element.h"

namespace pyformer::PF_ISA {

template <class T>
static void step(const AdamWStep& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const A decay = A(a.decay), blend1 = A(a.blend1), beta2 = A(a.beta2), blend2 = A(a.blend2);
  const A correction = A(a.correction), eps = A(a.eps), minus_step_size = A(-a.step_size);
  for (int64_t item = begin; item < end; ++item) {
    const AdamWPiece& piece = a.pieces[item];
    T* param = static_cast<T*>(piece.param);
    A* master = static_cast<A*>(piece.master);
    A* exp_avg = static_cast<A*>(piece.exp_avg);
    A* exp_avg_sq = static_cast<A*>(piece.exp_avg_sq);
    for (int64_t i = 0; i < piece.count; ++i) {
      const A grad = squarable(static_cast<const A*>(piece.grad)[i]);
      const A m = fma(blend1, grad - exp_avg[i], exp_avg[i]);
      const A v = fma(blend2 * grad, grad, beta2 * exp_avg_sq[i]);
      exp_avg[i] = m;
      exp_avg_sq[i] = v;
      const A start = stepped_from(master[i], param[i]);
      const A stepped = fma(minus_step_size, m / (sqrt(v) / correction + eps), start * decay);
      master[i] = stepped;
      param[i] = rounded<T>(stepped);
    }
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const AdamWTable& KernelsOf<AdamWTable, PF_ISA::kIsa>::table() {
  static constexpr AdamWTable table = {
      for_each_float<Kernel<AdamWStep>>([]<class T>() -> Kernel<AdamWStep> { return PF_ISA::step<T>; })};
  return table;
}
}  // namespace pyformer
