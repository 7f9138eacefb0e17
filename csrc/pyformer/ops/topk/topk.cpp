#include "pyformer/ops/topk/topk.h"

#include <algorithm>
#include <vector>

#include "pyformer/base/thread_pool.h"
#include "pyformer/core/partials.h"
#include "pyformer/ops/gather/gather.h"

namespace pyformer {

// A row longer than this is searched in blocks of it.
constexpr int64_t kBlock = int64_t(1) << 16;

template <class T>
struct Entry {
  T value;
  int64_t index;
};

// NaN before all, then the larger, then the one that comes first.
template <class T>
static bool before(const Entry<T>& a, const Entry<T>& b) {
  const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
  if (a_nan != b_nan) return a_nan;
  if (!a_nan && a.value != b.value) return a.value > b.value;
  return a.index < b.index;
}

// The first `count` of x[begin], x[begin + 1], ... x[end - 1] in order, to `out`; elements lie `stride` apart.
template <class T>
static void sort_first(const T* x, int64_t stride, int64_t begin, int64_t end, int64_t count,
                       std::vector<Entry<T>>& all, Entry<T>* out) {
  all.clear();
  for (int64_t i = begin; i < end; ++i) all.push_back({x[i * stride], i});
  if (count < end - begin) std::nth_element(all.begin(), all.begin() + count, all.end(), before<T>);
  std::sort(all.begin(), all.begin() + count, before<T>);
  std::copy_n(all.begin(), count, out);
}

// The first `count` of two sorted runs.
template <class T>
static void merge(const Entry<T>* a, int64_t a_count, const Entry<T>* b, int64_t b_count, int64_t count,
                  Entry<T>* out) {
  int64_t i = 0, j = 0;
  for (int64_t n = 0; n < count; ++n) out[n] = j == b_count || (i < a_count && before(a[i], b[j])) ? a[i++] : b[j++];
}

// The k largest of a long row: of each block, then of each two neighbours' results. Between loops Ctrl-C is heard.
template <class T>
static std::vector<Entry<T>> largest_of_long(const T* x, int64_t n, int64_t stride, int64_t k) {
  int64_t reach = kBlock;  // how much of the row a run is about
  const auto runs = [&] { return (n + reach - 1) / reach; };
  const auto first = [&](int64_t run, int64_t span) { return run * std::min(k, span); };
  const auto count = [&](int64_t run, int64_t span) { return std::min(k, std::min(n, (run + 1) * span) - run * span); };
  std::vector<Entry<T>> from(static_cast<size_t>(first(runs() - 1, reach) + count(runs() - 1, reach)));
  parallel_for(runs(), 1, [&](int64_t begin, int64_t end) {
    std::vector<Entry<T>> all;
    for (int64_t run = begin; run < end; ++run)
      sort_first(x, stride, run * reach, std::min(n, (run + 1) * reach), count(run, reach), all,
                 from.data() + first(run, reach));
  });
  std::vector<Entry<T>> to(runs() > 1 ? from.size() : 0);
  for (; runs() > 1; reach *= 2, std::swap(from, to)) {
    const int64_t old_runs = runs(), span = 2 * reach;
    parallel_for((old_runs + 1) / 2, 1, [&](int64_t begin, int64_t end) {
      for (int64_t run = begin; run < end; ++run) {
        const int64_t a = 2 * run, b = a + 1, b_count = b < old_runs ? count(b, reach) : 0;
        merge(from.data() + first(a, reach), count(a, reach), from.data() + first(std::min(b, old_runs - 1), reach),
              b_count, count(run, span), to.data() + first(run, span));
      }
    });
  }
  return from;
}

template <class T>
static void select_rows(const Array& x, int64_t k, int axis, const TopkResult& r) {
  const int64_t n = x.dim(axis), inner = x.shape().inner(axis), outer = x.shape().outer(axis);
  const auto row = [&](int64_t item) { return x.data<T>() + item / inner * n * inner + item % inner; };
  const auto store = [&](int64_t item, const Entry<T>* largest) {
    const int64_t to = item / inner * k * inner + item % inner;
    for (int64_t i = 0; i < k; ++i) {
      r.values.data<T>()[to + i * inner] = largest[i].value;
      r.indices.data<int64_t>()[to + i * inner] = largest[i].index;
    }
  };
  if (n > kBlock) {
    for (int64_t item = 0; item < outer * inner; ++item) store(item, largest_of_long(row(item), n, inner, k).data());
    return;
  }
  parallel_for(outer * inner, grain_of_rows(4 * n), [&](int64_t begin, int64_t end) {
    std::vector<Entry<T>> all, largest(static_cast<size_t>(k));
    for (int64_t item = begin; item < end; ++item) {
      sort_first(row(item), inner, 0, n, k, all, largest.data());
      store(item, largest.data());
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
