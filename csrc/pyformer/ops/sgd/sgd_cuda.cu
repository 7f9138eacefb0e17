// sgd: the formula of sgd_ref.cpp, a thread block for each piece.
#include "pyformer/cuda/kernel.h"
#include "pyformer/ops/sgd/sgd_kernels.h"

namespace pyformer::cuda {

template <class T>
__global__ void __launch_bounds__(kThreads) sgd_step(const SgdStep a) {
  using A = Accumulator<T>;
  const A lr = A(a.lr), momentum = A(a.momentum), weight_decay = A(a.weight_decay);
  const SgdPiece piece = a.pieces[blockIdx.x];
  T* param = static_cast<T*>(piece.param);
  A* master = static_cast<A*>(piece.master);
  A* buffer = static_cast<A*>(piece.buffer);
  for (int64_t i = threadIdx.x; i < piece.count; i += kThreads) {
    const A w = stepped_from(master[i], param[i]);
    const A g = static_cast<const A*>(piece.grad)[i] + weight_decay * w;
    A direction = g;
    if (buffer) {
      buffer[i] = momentum * buffer[i] + g;
      direction = a.nesterov ? g + momentum * buffer[i] : buffer[i];
    }
    const A stepped = w - lr * direction;
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
      for_each_float<Kernel<SgdStep>>([]<class T>() -> Kernel<SgdStep> { return step<T>; })};
  return table;
}

}  // namespace pyformer::cuda
