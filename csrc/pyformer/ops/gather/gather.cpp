#include "pyformer/ops/gather/gather.h"

#include <cstring>

#include "pyformer/base/thread_pool.h"
#include "pyformer/core/ids.h"
#include "pyformer/core/partials.h"

namespace pyformer {

static constexpr int64_t kGrain = int64_t(1) << 13;

// Calls visit(position in index, position in x) for elements begin ... end - 1 of index, in order.
template <class Visit>
static void for_each_picked(const Shape& picked, const int64_t* index, const Shape& shape, int axis, int64_t begin,
                            int64_t end, const Visit& visit) {
  int64_t strides[Shape::kMaxDims], stride = 1;
  for (int d = shape.ndim() - 1; d >= 0; --d) {
    strides[d] = stride;
    stride *= shape[d];
  }
  for (int64_t i = begin; i < end; ++i) {
    int64_t rest = i, position = 0;
    for (int d = picked.ndim() - 1; d >= 0; --d) {
      position += (d == axis ? index[i] : rest % picked[d]) * strides[d];
      rest /= picked[d];
    }
    visit(i, position);
  }
}

static Array checked_index(const Array& x, const Array& index, int axis) {
  if (index.ndim() != x.ndim())
    throw ValueError(cat("gather: index must have x's ", x.ndim(), " dimensions, got ", index.shape().str()));
  for (int d = 0; d < x.ndim(); ++d)
    if (d != axis && index.dim(d) > x.dim(d))
      throw ValueError(
          cat("gather: index ", index.shape().str(), " is larger than x ", x.shape().str(), " in axis ", d));
  return checked_ids("gather", "index", index, x.dim(axis));
}

Array gather_forward(const Array& x, const Array& index, int axis) {
  const Array out = Array::empty(index.shape(), x.dtype());
  const int64_t item = item_bytes(x.dtype());
  char* to = static_cast<char*>(out.raw());
  const char* from = static_cast<const char*>(x.raw());
  parallel_for(index.size(), kGrain, [&](int64_t begin, int64_t end) {
    for_each_picked(
        index.shape(), index.data<int64_t>(), x.shape(), axis, begin, end,
        [&](int64_t i, int64_t position) { std::memcpy(to + i * item, from + position * item, size_t(item)); });
  });
  return out;
}

// In the order of index, a part at a time. What differs in an axis before `axis` never meets.
template <class T>
static void scatter_add(const Array& dout, const Array& index, const Array& dx, int axis) {
  const T* from = dout.data<T>();
  T* to = dx.data<T>();
  if (index.size() == 0) return;
  const int64_t outer = index.shape().outer(axis), each = index.size() / outer, step = kGrain * 16;
  for (int64_t first = 0; first < each; first += step) {
    const int64_t last = std::min(each, first + step);
    parallel_for(outer, grain_of_rows(last - first), [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o)
        for_each_picked(index.shape(), index.data<int64_t>(), dx.shape(), axis, o * each + first, o * each + last,
                        [&](int64_t i, int64_t position) { to[position] = to[position] + from[i]; });
    });
  }
}

Array gather_backward(const Array& dout, const Array& index, const Shape& shape, int axis) {
  const Array dx = Array::zeros(shape, dout.dtype());
  if (dout.dtype() == DType::float64)
    scatter_add<double>(dout, index, dx, axis);
  else
    scatter_add<float>(dout, index, dx, axis);
  return dx;
}

Tensor gather(const Tensor& x, const Tensor& index, int64_t wanted_axis) {
  const int axis = normalize_axis("gather", wanted_axis, x.ndim());
  const Array checked = checked_index(x.array(), index.array(), axis);
  return record("gather", {x, index}, gather_forward(x.array(), checked, axis),
                [checked, shape = x.shape(), axis](const Array& dout, const Needs&) -> Gradients {
                  return {gather_backward(dout, checked, shape, axis), Array()};
                });
}

}  // namespace pyformer
