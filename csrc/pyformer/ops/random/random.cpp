#include "pyformer/ops/random/random.h"

#include "pyformer/base/dispatch.h"
#include "pyformer/base/thread_pool.h"
#include "pyformer/ops/random/random_kernels.h"

namespace pyformer {

static Array fill(const char* op, Kernel<RandomFill> (RandomKernels::*row)[2], const Shape& shape, DType dtype,
                  Device device, RandomStream stream) {
  static const auto sets = kernel_sets<RandomKernels>([]<Isa isa>() { return &random_kernels<isa>(); });
  const auto kernel = find_kernel(op, sets, row, dtype);
  Array out = Array::empty(shape, dtype, device);
  const RandomFill args = {stream.seed, stream.stream, out.raw()};
  constexpr int64_t grain = int64_t(1) << 14;
  parallel_for(out.size(), grain, [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
  return out;
}

Array rand(const Shape& shape, DType dtype, Device device, RandomStream stream) {
  return fill("rand", &RandomKernels::uniform, shape, dtype, device, stream);
}

Array randn(const Shape& shape, DType dtype, Device device, RandomStream stream) {
  return fill("randn", &RandomKernels::normal, shape, dtype, device, stream);
}

}  // namespace pyformer
