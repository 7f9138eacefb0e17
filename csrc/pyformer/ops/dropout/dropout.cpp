#include "pyformer/ops/dropout/dropout.h"

#include "pyformer/base/run.h"
#include "pyformer/core/precision.h"
#include "pyformer/ops/dropout/dropout_kernels.h"

namespace pyformer {

static void check_p(double p) {
  if (!(p >= 0 && p < 1)) throw ValueError(cat("dropout: expected 0 <= p < 1, got ", p));
}

Array dropout_forward(const Array& x, double p, RandomStream stream) {
  check_p(p);
  Array out = x.like(x.shape());
  DropoutForward args;
  in_default_float_mode([&] {
    args = {x.size(),    stream.seed, stream.stream, stream.replayed, uint32_t(p * 0x1p32),
            1 / (1 - p), x.raw(),     out.raw()};
  });
  run("dropout", &DropoutTable::forward, x, args);
  return out;
}

Tensor dropout(const Tensor& x, double p) {
  if (has_narrow({x})) return dropout(widened(x), p);
  if (!is_float(x.dtype())) throw TypeError(cat("dropout: x must be of a float dtype, got ", name(x.dtype())));
  check_p(p);
  if (p == 0) return x;
  const RandomStream stream = draw_stream(x.device());
  return record(
      "dropout", {x}, dropout_forward(x.array(), p, stream),
      [p, stream](const Array& dout, const Needs&) -> Gradients { return {dropout_forward(dout, p, stream)}; });
}

}  // namespace pyformer
