#include "pyformer/ops/softmax/softmax.h"

#include "pyformer/base/dispatch.h"
#include "pyformer/base/thread_pool.h"
#include "pyformer/core/partials.h"
#include "pyformer/core/strided_copy.h"
#include "pyformer/ops/softmax/softmax_kernels.h"

namespace pyformer {

static const KernelSets<SoftmaxKernels>& sets() {
  static const auto sets = kernel_sets<SoftmaxKernels>([]<Isa isa>() { return &softmax_kernels<isa>(); });
  return sets;
}

// (outer, n, inner) -> (outer, inner, n): rows for an axis that is not the last.
static Array swapped(const Array& x, int64_t outer, int64_t n, int64_t inner) {
  const Array out = Array::empty({outer, inner, n}, x.dtype());
  strided_copy(out.shape(), item_bytes(x.dtype()), region_of(out), {x.raw(), {n * inner, 1, inner}});
  return out.reshape(x.shape());
}

static Array forward(const char* op, const Array& x, int64_t axis, Kernel<SoftmaxForward> (SoftmaxKernels::*row)[2]) {
  const auto kernel = find_kernel(op, sets(), row, x.dtype());
  const int at = normalize_axis(op, axis, x.ndim());
  const int64_t n = x.dim(at), outer = x.shape().outer(at), inner = x.shape().inner(at);
  if (x.size() == 0) return Array::empty(x.shape(), x.dtype());
  const Array rows = inner == 1 ? x : swapped(x, outer, n, inner);
  const Array out = Array::empty(x.shape(), x.dtype());
  const SoftmaxForward args = {n, rows.raw(), out.raw()};
  parallel_for(outer * inner, grain_of_rows(n), [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
  return inner == 1 ? out : swapped(out, outer, inner, n);
}

static Array backward(const char* op, const Array& dout, const Array& out, int64_t axis,
                      Kernel<SoftmaxBackward> (SoftmaxKernels::*row)[2]) {
  const auto kernel = find_kernel(op, sets(), row, out.dtype());
  const int at = normalize_axis(op, axis, out.ndim());
  const int64_t n = out.dim(at), outer = out.shape().outer(at), inner = out.shape().inner(at);
  if (out.size() == 0) return Array::empty(out.shape(), out.dtype());
  const Array dout_rows = inner == 1 ? dout : swapped(dout, outer, n, inner);
  const Array out_rows = inner == 1 ? out : swapped(out, outer, n, inner);
  const Array dx = Array::empty(out.shape(), out.dtype());
  const SoftmaxBackward args = {n, dout_rows.raw(), out_rows.raw(), dx.raw()};
  parallel_for(outer * inner, grain_of_rows(n), [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
  return inner == 1 ? dx : swapped(dx, outer, inner, n);
}

Array softmax_forward(const Array& x, int64_t axis) {
  return forward("softmax", x, axis, &SoftmaxKernels::softmax_forward);
}
Array softmax_backward(const Array& dout, const Array& out, int64_t axis) {
  return backward("softmax", dout, out, axis, &SoftmaxKernels::softmax_backward);
}
Array log_softmax_forward(const Array& x, int64_t axis) {
  return forward("log_softmax", x, axis, &SoftmaxKernels::log_softmax_forward);
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
