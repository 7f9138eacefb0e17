#include "pyformer/ops/cast/cast.h"

namespace pyformer {

Tensor cast(const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  Array out = cast(x.array(), dtype);
  if (!is_float(dtype)) return no_gradient(std::move(out));
  return record("cast", {x}, std::move(out), [](const Array& dout, const Needs&) -> Gradients { return {dout}; });
}

}  // namespace pyformer
