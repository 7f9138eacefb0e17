#include "pyformer/ops/random/random.h"

#include "pyformer/base/run.h"
#include "pyformer/ops/random/random_kernels.h"

namespace pyformer {

static Array fill(const char* op, PerDtype<Kernel<RandomFill>> RandomTable::* row, const Shape& shape, DType dtype,
                  Device device, RandomStream stream) {
  Array out = Array::empty(shape, dtype, device);
  run(op, row, out, RandomFill{out.size(), stream.seed, stream.stream, stream.replayed, out.raw()});
  return out;
}

Array rand(const Shape& shape, DType dtype, Device device, RandomStream stream) {
  return fill("rand", &RandomTable::uniform, shape, dtype, device, stream);
}

Array randn(const Shape& shape, DType dtype, Device device, RandomStream stream) {
  return fill("randn", &RandomTable::normal, shape, dtype, device, stream);
}

}  // namespace pyformer
