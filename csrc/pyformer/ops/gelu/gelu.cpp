#include "pyformer/ops/gelu/gelu.h"

#include "pyformer/base/dispatch.h"
#include "pyformer/base/thread_pool.h"
#include "pyformer/core/partials.h"
#include "pyformer/ops/gelu/gelu_kernels.h"

namespace pyformer {

static const KernelSets<GeluKernels>& sets() {
  static const auto sets = kernel_sets<GeluKernels>([]<Isa isa>() { return &gelu_kernels<isa>(); });
  return sets;
}

static constexpr int64_t kGrain = int64_t(1) << 14;

GeluApproximate gelu_approximate_from_name(const std::string& name) {
  if (name == "none") return GeluApproximate::none;
  if (name == "tanh") return GeluApproximate::tanh;
  throw ValueError(cat("gelu: expected approximate to be 'none' or 'tanh', got '", name, "'"));
}

Array gelu_forward(const Array& x, GeluApproximate approximate) {
  const auto row = approximate == GeluApproximate::tanh ? &GeluKernels::forward_tanh : &GeluKernels::forward_erf;
  const auto kernel = find_kernel("gelu", sets(), row, x.dtype());
  Array out = Array::empty(x.shape(), x.dtype());
  const GeluForward args = {x.raw(), out.raw(), out.bytes() >= kNontemporalToProducts};
  parallel_for(x.size(), kGrain, [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
  return out;
}

Array gelu_backward(const Array& dout, const Array& x, GeluApproximate approximate) {
  const auto row = approximate == GeluApproximate::tanh ? &GeluKernels::backward_tanh : &GeluKernels::backward_erf;
  const auto kernel = find_kernel("gelu", sets(), row, x.dtype());
  Array dx = Array::empty(x.shape(), x.dtype());
  const GeluBackward args = {dout.raw(), x.raw(), dx.raw(), dx.bytes() >= kNontemporalToProducts};
  parallel_for(x.size(), kGrain, [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
  return dx;
}

Tensor gelu(const Tensor& x, GeluApproximate approximate) {
  return record("gelu", {x}, gelu_forward(x.array(), approximate),
                [x = save(x), approximate](const Array& dout, const Needs&) -> Gradients {
                  return {gelu_backward(dout, x(), approximate)};
                });
}

}  // namespace pyformer
