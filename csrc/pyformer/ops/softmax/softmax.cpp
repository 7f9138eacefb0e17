#include "pyformer/ops/softmax/softmax.h"

#include "pyformer/base/dispatch.h"
#include "pyformer/base/thread_pool.h"
#include "pyformer/core/partials.h"
#include "pyformer/ops/softmax/softmax_kernels.h"

namespace pyformer {

static const KernelSets<SoftmaxKernels>& sets() {
  static const auto sets = kernel_sets<SoftmaxKernels>([]<Isa isa>() { return &softmax_kernels<isa>(); });
  return sets;
}

// Rows a task should take; down columns, a whole strip of them.
static int64_t grain_of(int64_t n, int64_t inner) {
  return inner == 1 ? grain_of_rows(n) : std::max(kSoftmaxStrip, grain_of_rows(n));
}

static Array forward(const char* op, const Array& x, int64_t axis, Kernel<SoftmaxForward> (SoftmaxKernels::*row)[2],
                     bool needs_scratch) {
  const auto kernel = find_kernel(op, sets(), row, x.dtype());
  const int at = normalize_axis(op, axis, x.ndim());
  const int64_t n = x.dim(at), outer = x.shape().outer(at), inner = x.shape().inner(at);
  const Array out = Array::empty(x.shape(), x.dtype());
  if (x.size() == 0) return out;
  const SoftmaxForward args = {n, inner, x.raw(), out.raw(), out.bytes() >= kNontemporalToProducts, nullptr};
  const Shape scratch_shape = inner > 1 ? Shape{n, kSoftmaxStrip} : Shape{n > kReduceBlock ? n : 0};
  needs_scratch = needs_scratch && args.nontemporal && scratch_shape.size() > 0;
  parallel_for(outer * inner, grain_of(n, inner), [&](int64_t begin, int64_t end) {
    const Array scratch = needs_scratch ? Array::empty(scratch_shape, x.dtype()) : Array();
    SoftmaxForward own = args;
    own.scratch = scratch.raw();
    kernel(own, begin, end);
  });
  return out;
}

static Array backward(const char* op, const Array& dout, const Array& out, int64_t axis,
                      Kernel<SoftmaxBackward> (SoftmaxKernels::*row)[2]) {
  const auto kernel = find_kernel(op, sets(), row, out.dtype());
  const int at = normalize_axis(op, axis, out.ndim());
  const int64_t n = out.dim(at), outer = out.shape().outer(at), inner = out.shape().inner(at);
  const Array dx = Array::empty(out.shape(), out.dtype());
  if (out.size() == 0) return dx;
  const SoftmaxBackward args = {n, inner, dout.raw(), out.raw(), dx.raw(), dx.bytes() >= kNontemporalToProducts};
  parallel_for(outer * inner, grain_of(n, inner), [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
  return dx;
}

Array softmax_forward(const Array& x, int64_t axis) {
  return forward("softmax", x, axis, &SoftmaxKernels::softmax_forward, true);
}
Array softmax_backward(const Array& dout, const Array& out, int64_t axis) {
  return backward("softmax", dout, out, axis, &SoftmaxKernels::softmax_backward);
}
Array log_softmax_forward(const Array& x, int64_t axis) {
  return forward("log_softmax", x, axis, &SoftmaxKernels::log_softmax_forward, false);
}
Array log_softmax_backward(const Array& dout, const Array& out, int64_t axis) {
  return backward("log_softmax", dout, out, axis, &SoftmaxKernels::log_softmax_backward);
}

Tensor softmax(const Tensor& x, int64_t axis) {
  const Array out = softmax_forward(x.array(), axis);
  return record("softmax", {x}, out, [out = save(out), axis](const Array& dout, const Needs&) -> Gradients {
    return {softmax_backward(dout, out(), axis)};
  });
}

Tensor log_softmax(const Tensor& x, int64_t axis) {
  const Array out = log_softmax_forward(x.array(), axis);
  return record("log_softmax", {x}, out, [out = save(out), axis](const Array& dout, const Needs&) -> Gradients {
    return {log_softmax_backward(dout, out(), axis)};
  });
}

}  // namespace pyformer
