// sgd: the formula of sgd_ref.cpp, a thread block for each piece.
#include "pyformer/cuda/kernel.h"
#include "pyformer/ops/sgd/sgd_kernels.h"

namespace pyformer::cuda {

template <class T>
__global__ void __launch_bounds__(kThreads) sgd_step(const SgdStep a) {
  const float lr = float(a.lr), momentum = float(a.momentum), weight_decay = float(a.weight_decay);
  const SgdPiece piece = a.pieces[blockIdx.x];
  T* param = static_cast<T*>(piece.param);
  float* master = static_cast<float*>(piece.master);
  float* buffer = static_cast<float*>(piece.buffer);
  for (int64_t i = threadIdx.x; i < piece.count; i += kThreads) {
    const float w = stepped_from(master[i], param[i]);
    const float g = static_cast<const float*>(piece.grad)[i] + weight_decay * w;
    float direction = g;
    if (buffer) {
      buffer[i] = momentum * buffer[i] + g;
      direction = a.nesterov ? g + momentum * buffer[i] : buffer[i];
    }
    const float stepped = w - lr * direction;
    master[i] = stepped;
    param[i] = rounded<T>(stepped);
  }
}
template <class T>
static void step(const SgdStep& a, int64_t, int64_t pieces) {
  start(sgd_step<T>, pieces, kThreads, 0, a);
}

template <>
const SgdTable& cuda_table<SgdTable>() {
  static constexpr SgdTable table = {
      for_cuda_floats<Kernel<SgdStep>>([]<class T>() -> Kernel<SgdStep> { return step<T>; })};
  return table;
}

}  // namespace pyformer::cuda
