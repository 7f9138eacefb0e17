#include "pyformer/ops/topk/topk.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "pyformer/base/thread_pool.h"
#include "pyformer/core/partials.h"
#include "pyformer/ops/gather/gather.h"

namespace pyformer {

// The k largest of x[0], x[stride], ... (n of them).
template <class T>
static void select_largest(const T* x, int64_t n, int64_t stride, int64_t k, std::vector<int64_t>& order, T* values,
                           int64_t* indices) {
  const auto before = [&](int64_t a, int64_t b) {
    const T u = x[a * stride], v = x[b * stride];
    const bool u_nan = u != u, v_nan = v != v;
    if (u_nan != v_nan) return u_nan;
    if (!u_nan && u != v) return u > v;
    return a < b;
  };
  std::iota(order.begin(), order.end(), int64_t(0));
  std::partial_sort(order.begin(), order.begin() + k, order.begin() + n, before);
  for (int64_t i = 0; i < k; ++i) {
    values[i * stride] = x[order[size_t(i)] * stride];
    indices[i * stride] = order[size_t(i)];
  }
}

template <class T>
static void select_rows(const Array& x, int64_t k, int axis, const TopkResult& r) {
  const int64_t n = x.dim(axis), inner = x.shape().inner(axis), outer = x.shape().outer(axis);
  parallel_for(outer * inner, grain_of_rows(4 * n), [&](int64_t begin, int64_t end) {
    std::vector<int64_t> order(static_cast<size_t>(n));
    for (int64_t item = begin; item < end; ++item) {
      const int64_t from = item / inner * n * inner + item % inner, to = item / inner * k * inner + item % inner;
      select_largest(x.data<T>() + from, n, inner, k, order, r.values.data<T>() + to, r.indices.data<int64_t>() + to);
    }
  });
}

TopkResult topk_forward(const Array& x, int64_t k, int axis) {
  if (k < 0 || k > x.dim(axis))
    throw ValueError(cat("topk: k must be from 0 to ", x.dim(axis), ", the extent of axis ", axis, ", got ", k));
  Shape shape = x.shape();
  shape[axis] = k;
  const TopkResult r = {Array::empty(shape, x.dtype()), Array::empty(shape, DType::int64)};
  if (r.values.size() == 0) return r;
  switch (x.dtype()) {
    case DType::float32:
      select_rows<float>(x, k, axis, r);
      break;
    case DType::float64:
      select_rows<double>(x, k, axis, r);
      break;
    case DType::int64:
      select_rows<int64_t>(x, k, axis, r);
      break;
    case DType::int32:
      select_rows<int32_t>(x, k, axis, r);
      break;
    default:
      throw TypeError(cat("topk: expected float32, float64, int64 or int32, got ", name(x.dtype())));
  }
  return r;
}

TopkTensors topk(const Tensor& x, int64_t k, int64_t wanted_axis) {
  const int axis = normalize_axis("topk", wanted_axis, x.ndim());
  const TopkResult r = topk_forward(x.array(), k, axis);
  const Tensor indices = no_gradient(r.indices);
  if (!is_float(x.dtype())) return {no_gradient(r.values), indices};
  return {record("topk", {x}, r.values,
                 [indices = save(r.indices), shape = x.shape(), axis](const Array& dout, const Needs&) -> Gradients {
                   return {gather_backward(dout, indices(), shape, axis)};
                 }),
          indices};
}

}  // namespace pyformer
