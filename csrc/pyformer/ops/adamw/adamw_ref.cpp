// adamw, plain loops: the formula of adamw.h, an FMA where fma() is written.
#include "pyformer/ops/adamw/adamw_kernels.h"

#include "pyformer/base/vec.h"

namespace pyformer::PF_ISA {

template <class T>
static void step(const AdamWStep& a, int64_t begin, int64_t end) {
  const T decay = T(a.decay), blend1 = T(a.blend1), beta2 = T(a.beta2), blend2 = T(a.blend2);
  const T correction = T(a.correction), eps = T(a.eps), minus_step_size = T(-a.step_size);
  for (int64_t item = begin; item < end; ++item) {
    const AdamWPiece& piece = a.pieces[item];
    T* param = static_cast<T*>(piece.param);
    T* exp_avg = static_cast<T*>(piece.exp_avg);
    T* exp_avg_sq = static_cast<T*>(piece.exp_avg_sq);
    for (int64_t i = 0; i < piece.count; ++i) {
      const T grad = static_cast<const T*>(piece.grad)[i];
      const T m = fma(blend1, grad - exp_avg[i], exp_avg[i]);
      const T v = fma(blend2 * grad, grad, beta2 * exp_avg_sq[i]);
      exp_avg[i] = m;
      exp_avg_sq[i] = v;
      param[i] = fma(minus_step_size, m / (sqrt(v) / correction + eps), param[i] * decay);
    }
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const AdamWKernels& adamw_kernels<PF_ISA::kIsa>() {
  static constexpr AdamWKernels kernels = {{PF_ISA::step<float>, PF_ISA::step<double>}};
  return kernels;
}
}  // namespace pyformer
