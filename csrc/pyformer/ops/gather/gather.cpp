#include "pyformer/ops/gather/gather.h"

#include "pyformer/base/run.h"
#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/core/precision.h"
#include "pyformer/ops/gather/gather_kernels.h"

namespace pyformer {

static_assert(GatherPick::kMaxDims == Shape::kMaxDims);

// index picks from an array of this shape.
static GatherPick pick_of(const Array& index, const Shape& shape, int axis) {
  GatherPick pick = {};
  pick.ndim = shape.ndim();
  pick.axis = axis;
  pick.index = static_cast<const int64_t*>(index.raw());
  pick.size = index.size();
  for (int d = 0; d < shape.ndim(); ++d) {
    pick.extents[d] = index.dim(d);
    pick.strides[d] = shape.inner(d);
  }
  return pick;
}

static Array checked_index(const Array& x, const Array& index, int axis) {
  if (index.ndim() != x.ndim())
    throw ValueError(cat("gather: index must have x's ", x.ndim(), " dimensions, got ", index.shape().str()));
  for (int d = 0; d < x.ndim(); ++d)
    if (d != axis && index.dim(d) > x.dim(d))
      throw ValueError(
          cat("gather: index ", index.shape().str(), " is larger than x ", x.shape().str(), " in axis ", d));
  check_device("gather", "index", index, "x", x);
  return checked_ids("gather", "index", index, x.dim(axis));
}

Array gather_forward(const Array& x, const Array& index, int axis) {
  const Array out = x.like(index.shape());
  run("gather", &GatherTable::forward, x, GatherForward{pick_of(index, x.shape(), axis), x.raw(), out.raw()});
  return out;
}

Array gather_backward(const Array& dout, const Array& index, const Shape& shape, int axis) {
  const Array dx = dout.zeros_like(shape, accumulator(dout.dtype()));
  if (index.size() == 0) return dx;
  const int64_t outer = index.shape().outer(axis), each = index.size() / outer;
  constexpr int64_t kStep = int64_t(1) << 17;  // Ctrl-C is heard between them
  for (int64_t first = 0; first < each; first += kStep)
    run("gather", &GatherTable::backward, dout,
        GatherBackward{pick_of(index, shape, axis), outer, first, std::min(each, first + kStep), dout.raw(), dx.raw()});
  return dx;
}

Tensor gather(const Tensor& x, const Tensor& index, int64_t wanted_axis) {
  if (has_narrow({x})) return gather(widened(x), index, wanted_axis);
  const int axis = normalize_axis("gather", wanted_axis, x.ndim());
  const Array checked = checked_index(x.array(), index.array(), axis);
  return record("gather", {x, index}, gather_forward(x.array(), checked, axis),
                [checked, shape = x.shape(), axis](const Array& dout, const Needs&) -> Gradients {
                  return {gather_backward(dout, checked, shape, axis), Array()};
                });
}

}  // namespace pyformer
