// adamw: the formula of adamw_ref.cpp, a thread block for each piece.
#include "pyformer/cuda/kernel.h"
#include "pyformer/ops/adamw/adamw_kernels.h"

namespace pyformer::cuda {

template <class T>
__global__ void __launch_bounds__(kThreads) adamw_step(const AdamWStep a) {
  const float decay = float(a.decay), blend1 = float(a.blend1), beta2 = float(a.beta2), blend2 = float(a.blend2);
  const float correction = float(a.correction), eps = float(a.eps), minus_step_size = float(-a.step_size);
  const AdamWPiece piece = a.pieces[blockIdx.x];
  T* param = static_cast<T*>(piece.param);
  float* master = static_cast<float*>(piece.master);
  float* exp_avg = static_cast<float*>(piece.exp_avg);
  float* exp_avg_sq = static_cast<float*>(piece.exp_avg_sq);
  for (int64_t i = threadIdx.x; i < piece.count; i += kThreads) {
    const float grad = static_cast<const float*>(piece.grad)[i];
    const float m = fma(blend1, grad - exp_avg[i], exp_avg[i]);
    const float v = fma(blend2 * grad, grad, beta2 * exp_avg_sq[i]);
    exp_avg[i] = m;
    exp_avg_sq[i] = v;
    const float start = stepped_from(master[i], param[i]);
    const float stepped = fma(minus_step_size, m / (sqrt(v) / correction + eps), start * decay);
    master[i] = stepped;
    param[i] = rounded<T>(stepped);
  }
}
template <class T>
static void step(const AdamWStep& a, int64_t, int64_t pieces) {
  start(adamw_step<T>, pieces, kThreads, 0, a);
}

template <>
const AdamWTable& cuda_table<AdamWTable>() {
  static constexpr AdamWTable table = {
      for_cuda_floats<Kernel<AdamWStep>>([]<class T>() -> Kernel<AdamWStep> { return step<T>; })};
  return table;
}

}  // namespace pyformer::cuda
