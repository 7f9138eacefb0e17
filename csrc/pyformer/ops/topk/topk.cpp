#include "pyformer/ops/topk/topk.h"

#include <algorithm>
#include <utility>

#include "pyformer/base/run.h"
#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/core/precision.h"
#include "pyformer/ops/gather/gather.h"
#include "pyformer/ops/topk/topk_kernels.h"

namespace pyformer {

// A row longer than this is searched in parts of it.
constexpr int64_t kPart = int64_t(1) << 16;

static int64_t* indices_in(const Array& array) { return static_cast<int64_t*>(array.raw()); }

static void select(const Array& x, const TopkSelect& shape, const TopkResult& to) {
  TopkSelect args = shape;
  args.values = to.values.raw();
  args.indices = indices_in(to.indices);
  run("topk", &TopkTable::select, x, args);
}

// The k largest of long rows (rows, n): of each part, then of each two neighbours' results. Between loops Ctrl-C is
// heard.
static void select_long(const Array& x, int64_t n, int64_t k, const TopkResult& r) {
  const int64_t rows = x.size() / n, parts = (n + kPart - 1) / kPart;
  const int64_t room = topk_run_start(parts - 1, k, kPart) + topk_run_length(parts - 1, k, kPart, n);
  TopkResult from = {x.like({room}), x.like({room}, DType::int64)}, to = {x.like({room}), x.like({room}, DType::int64)};
  for (int64_t row = 0; row < rows; ++row) {
    TopkSelect args = {1, n, 1, k, kPart, room, nullptr, nullptr, nullptr};
    args.x = static_cast<const char*>(x.raw()) + row * n * item_bytes(x.dtype());
    select(x, args, from);
    for (int64_t part = kPart; part < n; part *= 2) {
      const bool is_last = 2 * part >= n;
      TopkMerge merge = {
          n, k, part, from.values.raw(), indices_in(from.indices), to.values.raw(), indices_in(to.indices)};
      if (is_last) {
        merge.values = static_cast<char*>(r.values.raw()) + row * k * item_bytes(x.dtype());
        merge.indices = indices_in(r.indices) + row * k;
      }
      run("topk", &TopkTable::merge, x, merge);
      std::swap(from, to);
    }
  }
}

// (outer, n, inner) -> (outer, inner, n)
static Array inner_last(const Array& x, int64_t outer, int64_t n, int64_t inner) {
  const Array out = x.like({outer, inner, n});
  Region from = region_of(x.reshape({outer, n, inner}));
  std::swap(from.strides[1], from.strides[2]);
  strided_copy({outer, inner, n}, x.dtype(), x.device(), region_of(out), from);
  return out;
}

TopkResult topk_forward(const Array& x, int64_t k, int axis) {
  const int64_t outer = x.shape().outer(axis), n = x.dim(axis), inner = x.shape().inner(axis);
  if (k < 0 || k > n)
    throw ValueError(cat("topk: k must be from 0 to ", n, ", the extent of axis ", axis, ", got ", k));
  Shape shape = x.shape();
  shape[axis] = k;
  const TopkResult r = {x.like(shape), x.like(shape, DType::int64)};
  if (n <= kPart) {
    const int64_t part = std::max<int64_t>(1, n);
    select(x, {outer, n, inner, k, part, k, x.raw(), nullptr, nullptr}, r);
  } else if (r.values.size() > 0) {
    const TopkResult rows = {x.like({outer, inner, k}), x.like({outer, inner, k}, DType::int64)};
    select_long(inner == 1 ? x : inner_last(x, outer, n, inner), n, k, inner == 1 ? r : rows);
    if (inner > 1)
      return {inner_last(rows.values, outer, inner, k).reshape(shape),
              inner_last(rows.indices, outer, inner, k).reshape(shape)};
  }
  return r;
}

TopkTensors topk(const Tensor& x, int64_t k, int64_t wanted_axis) {
  if (has_narrow({x})) return topk(widened(x), k, wanted_axis);
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
