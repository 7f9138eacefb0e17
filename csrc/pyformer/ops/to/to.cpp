#include "pyformer/ops/to/to.h"

#include "pyformer/core/arithmetic/arithmetic.h"

namespace pyformer {

Array to(const Array& x, Device device) {
  Array moved = x.to(device);
  if (!x.device().is_cpu() && device.is_cpu()) raise_pending(x.device());
  return moved;
}

Tensor to(const Tensor& x, Device device) {
  if (x.device() == device) return x;
  return record("to", {x}, to(x.array(), device),
                [back = x.device()](const Array& dout, const Needs&) -> Gradients { return {dout.to(back)}; });
}

}  // namespace pyformer
