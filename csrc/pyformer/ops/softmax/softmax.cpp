#include "pyformer/ops/softmax/softmax.h"

#include "pyformer/base/run.h"
#include "pyformer/core/precision.h"
#include "pyformer/ops/softmax/softmax_kernels.h"

namespace pyformer {

static SoftmaxShape shape_at(const char* op, const Array& x, int64_t axis) {
  const int at = normalize_axis(op, axis, x.ndim());
  return {x.shape().outer(at), x.dim(at), x.shape().inner(at)};
}

static Array forward(const char* op, const Array& x, int64_t axis,
                     PerDtype<Kernel<SoftmaxForward>> SoftmaxTable::* row) {
  const SoftmaxShape shape = shape_at(op, x, axis);
  const Array out = x.like(x.shape());
  run(op, row, x, SoftmaxForward{shape, x.raw(), out.raw(), out.bytes() >= kNontemporalToProducts});
  return out;
}

static Array backward(const char* op, const Array& dout, const Array& saved, int64_t axis,
                      PerDtype<Kernel<SoftmaxBackward>> SoftmaxTable::* row) {
  const SoftmaxShape shape = shape_at(op, saved, axis);
  const Array dx = saved.like(saved.shape());
  run(op, row, saved, SoftmaxBackward{shape, dout.raw(), saved.raw(), dx.raw(), dx.bytes() >= kNontemporalToProducts});
  return dx;
}

Array softmax_forward(const Array& x, int64_t axis) {
  return forward("softmax", x, axis, &SoftmaxTable::softmax_forward);
}
Array softmax_backward(const Array& dout, const Array& saved, int64_t axis) {
  return backward("softmax", dout, saved, axis, &SoftmaxTable::softmax_backward);
}
Array log_softmax_forward(const Array& x, int64_t axis) {
  return forward("log_softmax", x, axis, &SoftmaxTable::log_softmax_forward);
}
Array log_softmax_backward(const Array& dout, const Array& saved, int64_t axis) {
  return backward("log_softmax", dout, saved, axis, &SoftmaxTable::log_softmax_backward);
}

static const Array& kept(const Array& x, const Array& out) { return accumulator(x.dtype()) == x.dtype() ? out : x; }

Tensor softmax(const Tensor& x, int64_t axis) {
  if (has_narrow({x})) return softmax(widened(x), axis);
  const Array out = softmax_forward(x.array(), axis);
  return record("softmax", {x}, out,
                [saved = save(kept(x.array(), out)), axis](const Array& dout, const Needs&) -> Gradients {
                  return {softmax_backward(dout, saved(), axis)};
                });
}

Tensor log_softmax(const Tensor& x, int64_t axis) {
  if (has_narrow({x})) return log_softmax(widened(x), axis);
  const Array out = log_softmax_forward(x.array(), axis);
  return record("log_softmax", {x}, out,
                [saved = save(kept(x.array(), out)), axis](const Array& dout, const Needs&) -> Gradients {
                  return {log_softmax_backward(dout, saved(), axis)};
                });
}

}  // namespace pyformer
