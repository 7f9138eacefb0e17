#include "pyformer/ops/dropout/dropout.h"

#include "pyformer/base/dispatch.h"
#include "pyformer/base/thread_pool.h"
#include "pyformer/ops/dropout/dropout_kernels.h"

namespace pyformer {

static void check_p(double p) {
  if (!(p >= 0 && p < 1)) throw ValueError(cat("dropout: expected 0 <= p < 1, got ", p));
}

Array dropout_forward(const Array& x, double p, RandomStream stream) {
  static const auto sets = kernel_sets<DropoutKernels>([]<Isa isa>() { return &dropout_kernels<isa>(); });
  const auto kernel = find_kernel("dropout", sets, &DropoutKernels::forward, x.dtype());
  check_p(p);
  Array out = Array::empty(x.shape(), x.dtype());
  DropoutForward args;
  in_default_float_mode(
      [&] { args = {stream.seed, stream.stream, uint32_t(p * 0x1p32), 1 / (1 - p), x.raw(), out.raw()}; });
  constexpr int64_t grain = int64_t(1) << 14;
  parallel_for(x.size(), grain, [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
  return out;
}

Tensor dropout(const Tensor& x, double p) {
  float_index("dropout", x.dtype());
  check_p(p);
  if (p == 0) return x;
  const RandomStream stream = draw_stream();
  return record(
      "dropout", {x}, dropout_forward(x.array(), p, stream),
      [p, stream](const Array& dout, const Needs&) -> Gradients { return {dropout_forward(dout, p, stream)}; });
}

}  // namespace pyformer
