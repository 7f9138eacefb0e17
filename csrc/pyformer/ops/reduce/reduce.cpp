#include "pyformer/ops/reduce/reduce.h"

#include "pyformer/base/dispatch.h"
#include "pyformer/base/thread_pool.h"
#include "pyformer/core/partials.h"
#include "pyformer/ops/reduce/reduce_kernels.h"

namespace pyformer {

static const KernelSets<ReduceKernels>& sets() {
  static const auto sets = kernel_sets<ReduceKernels>([]<Isa isa>() { return &reduce_kernels<isa>(); });
  return sets;
}

// ---- axes -----------------------------------------------------------------------------------------------------

// Neighbouring axes that are reduced together.
struct AxisGroup {
  int first, count;
};

struct View {
  int64_t outer, n, inner;
};

static View view_of(const Shape& shape, AxisGroup g) {
  return {Shape(shape.begin(), g.first).size(), Shape(shape.begin() + g.first, g.count).size(),
          Shape(shape.begin() + g.first + g.count, shape.ndim() - g.first - g.count).size()};
}

static Shape reduced_shape(const Shape& shape, AxisGroup g, bool keepdims) {
  Shape out;
  for (int i = 0; i < shape.ndim(); ++i) {
    const bool is_reduced = i >= g.first && i < g.first + g.count;
    if (!is_reduced)
      out.push_back(shape[i]);
    else if (keepdims)
      out.push_back(1);
  }
  return out;
}

// In the order in which they are reduced: last group first.
static std::vector<AxisGroup> axis_groups(const char* op, const Shape& shape, const Axes& axes) {
  std::vector<bool> is_reduced(size_t(shape.ndim()), !axes);
  if (axes)
    for (int64_t axis : *axes) {
      const int i = normalize_axis(op, axis, shape.ndim());
      if (is_reduced[size_t(i)]) throw ValueError(cat(op, ": axis ", axis, " is given twice"));
      is_reduced[size_t(i)] = true;
    }
  std::vector<AxisGroup> groups;
  for (int i = shape.ndim() - 1; i >= 0; --i) {
    if (!is_reduced[size_t(i)]) continue;
    if (!groups.empty() && groups.back().first == i + 1)
      groups.back() = {i, groups.back().count + 1};
    else
      groups.push_back({i, 1});
  }
  return groups;
}

static int64_t reduced_count(const Shape& shape, const std::vector<AxisGroup>& groups) {
  int64_t count = 1;
  for (AxisGroup g : groups) count = checked_multiply(count, view_of(shape, g).n);
  return count;
}

static void check_dtype(const char* op, DType dtype) {
  if (is_float(dtype)) float_index(op, dtype);
}

// ---- sums -----------------------------------------------------------------------------------------------------

static void sum_rows(const Array& x, View v, double divisor, const Array& out) {
  const auto block_kernel = find_kernel("sum", sets(), &ReduceKernels::sum_blocks, x.dtype());
  const auto tree_kernel = find_kernel("sum", sets(), &ReduceKernels::sum_tree, x.dtype());
  const int64_t blocks = (v.n + kReduceBlock - 1) / kReduceBlock;
  const bool one_step = blocks == 1;
  const Array sums = one_step ? out : Array::empty({v.outer, blocks}, x.dtype());
  const SumBlocks args = {v.n, blocks, one_step ? divisor : 1.0, x.raw(), sums.raw()};
  parallel_for(v.outer * blocks, grain_of_rows(std::min(v.n, kReduceBlock)),
               [&](int64_t begin, int64_t end) { block_kernel(args, begin, end); });
  if (one_step) return;
  const SumTree tree = {blocks, divisor, sums.raw(), out.raw()};
  parallel_for(v.outer, grain_of_rows(blocks), [&](int64_t begin, int64_t end) { tree_kernel(tree, begin, end); });
}

template <class T>
static void add_chains(const Array& sums, View v, int64_t chains, double divisor, const Array& out) {
  parallel_for(v.outer, 1, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) {
      const T* in = sums.data<T>() + o * chains * v.inner;
      T* sum = out.data<T>() + o * v.inner;
      for (int64_t c = 0; c < v.inner; ++c) sum[c] = chains ? in[c] : T(0);
      for (int64_t p = 1; p < chains; ++p)
        for (int64_t c = 0; c < v.inner; ++c) sum[c] = sum[c] + in[p * v.inner + c];
      for (int64_t c = 0; c < v.inner; ++c) sum[c] = sum[c] / T(divisor);
    }
  });
}

static void sum_columns(const Array& x, View v, double divisor, const Array& out) {
  const auto kernel = find_kernel("sum", sets(), &ReduceKernels::sum_chains, x.dtype());
  const int64_t chains = (v.n + kChainLength - 1) / kChainLength;
  const int64_t ranges = (v.inner + SumChains::kColumns - 1) / SumChains::kColumns;
  const bool one_step = chains == 1;
  const Array sums = one_step ? out : Array::empty({v.outer, chains, v.inner}, x.dtype());
  const SumChains args = {v.n, v.inner, chains, ranges, one_step ? divisor : 1.0, x.raw(), sums.raw()};
  const int64_t item_size = std::min(v.n, kChainLength) * std::min(v.inner, SumChains::kColumns);
  parallel_for(v.outer * chains * ranges, grain_of_rows(item_size),
               [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
  if (one_step) return;
  if (x.dtype() == DType::float64)
    add_chains<double>(sums, v, chains, divisor, out);
  else
    add_chains<float>(sums, v, chains, divisor, out);
}

template <class T>
static Array sum_integers(const Array& x, View v) {
  Array out = Array::zeros({v.outer, v.inner}, DType::int64);
  if (x.size() == 0) return out;
  const T* in = x.data<T>();
  uint64_t* sum = reinterpret_cast<uint64_t*>(out.data<int64_t>());  // wraps around, as NumPy's do
  parallel_for(v.outer, grain_of_rows(v.n * v.inner), [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o)
      for (int64_t i = 0; i < v.n; ++i)
        for (int64_t c = 0; c < v.inner; ++c)
          sum[o * v.inner + c] += uint64_t(int64_t(in[(o * v.n + i) * v.inner + c]));
  });
  return out;
}

// (outer, n, inner) -> outer * inner sums, each divided by divisor.
static Array sum_view(const Array& x, View v, double divisor) {
  switch (x.dtype()) {
    case DType::int64:
      return sum_integers<int64_t>(x, v);
    case DType::int32:
      return sum_integers<int32_t>(x, v);
    case DType::boolean:
      return sum_integers<bool>(x, v);
    default:
      break;
  }
  Array out = Array::empty({v.outer, v.inner}, x.dtype());
  if (out.size() == 0) return out;
  if (v.inner == 1)
    sum_rows(x, v, divisor, out);
  else
    sum_columns(x, v, divisor, out);
  return out;
}

Array sum_forward(const Array& x, const Axes& axes, bool keepdims) {
  check_dtype("sum", x.dtype());
  Array out = x;
  for (AxisGroup g : axis_groups("sum", x.shape(), axes))
    out = sum_view(out, view_of(out.shape(), g), 1.0).reshape(reduced_shape(out.shape(), g, keepdims));
  return out;
}

// The gradient of sum_view: dout / divisor for every element that went into a sum.
static Array spread(const Array& dout, View v, double divisor, const Shape& shape) {
  const auto kernel = find_kernel("sum", sets(), &ReduceKernels::spread, dout.dtype());
  Array dx = Array::empty(shape, dout.dtype());
  if (dx.size() == 0) return dx;
  const Spread args = {v.n, v.inner, divisor, dout.raw(), dx.raw(), dx.bytes() >= kNontemporalToAll};
  parallel_for(v.outer * v.n, grain_of_rows(v.inner), [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
  return dx;
}

static Tensor sum_group(const char* op, const Tensor& x, AxisGroup g, bool keepdims, double divisor) {
  const View v = view_of(x.shape(), g);
  Array out = sum_view(x.array(), v, divisor).reshape(reduced_shape(x.shape(), g, keepdims));
  if (!is_float(x.dtype())) return no_gradient(out);
  return record(op, {x}, out, [v, divisor, shape = x.shape()](const Array& dout, const Needs&) -> Gradients {
    return {spread(dout, v, divisor, shape)};
  });
}

Tensor sum(const Tensor& x, const Axes& axes, bool keepdims) {
  check_dtype("sum", x.dtype());
  Tensor out = x;
  for (AxisGroup g : axis_groups("sum", x.shape(), axes)) out = sum_group("sum", out, g, keepdims, 1.0);
  return out;
}

Tensor mean(const Tensor& x, const Axes& axes, bool keepdims) {
  float_index("mean", x.dtype());
  const std::vector<AxisGroup> groups = axis_groups("mean", x.shape(), axes);
  const double count = double(reduced_count(x.shape(), groups));
  Tensor out = x;
  for (size_t i = 0; i < groups.size(); ++i)
    out = sum_group("mean", out, groups[i], keepdims, i + 1 == groups.size() ? count : 1.0);
  return out;
}

// ---- extremes -------------------------------------------------------------------------------------------------

static void extreme_floats(const char* op, const Array& x, View v, bool minimum, const ExtremeResult& r) {
  const bool rows = v.inner == 1;
  const auto kernel =
      find_kernel(op, sets(), rows ? &ReduceKernels::extreme_rows : &ReduceKernels::extreme_columns, x.dtype());
  const int64_t ranges = rows ? 1 : (v.inner + Extreme::kColumns - 1) / Extreme::kColumns;
  const Extreme args = {v.n, v.inner, ranges, minimum, x.raw(), r.out.raw(), r.index.data<int64_t>()};
  parallel_for(v.outer * ranges, grain_of_rows(v.n * std::min(v.inner, Extreme::kColumns)),
               [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
}

// Rows so long that several threads share one: the extreme of each part, then the extreme of those.
static void extreme_parts(const char* op, const Array& x, View v, bool minimum, const ExtremeResult& r) {
  constexpr int64_t kPart = int64_t(1) << 15;
  const auto kernel = find_kernel(op, sets(), &ReduceKernels::extreme_rows, x.dtype());
  const int64_t parts = (v.n + kPart - 1) / kPart, item_size = item_bytes(x.dtype());
  const ExtremeResult part = {Array::empty({v.outer, parts}, x.dtype()), Array::empty({v.outer, parts}, DType::int64)};
  parallel_for(v.outer * parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t start = item % parts * kPart, n = std::min(kPart, v.n - start);
      const char* from = static_cast<const char*>(x.raw()) + (item / parts * v.n + start) * item_size;
      char* to = static_cast<char*>(part.out.raw()) + item * item_size;
      kernel({n, 1, 1, minimum, from, to, part.index.data<int64_t>() + item}, 0, 1);
    }
  });
  int64_t* index = r.index.data<int64_t>();
  parallel_for(v.outer, grain_of_rows(parts), [&](int64_t begin, int64_t end) {
    kernel({parts, 1, 1, minimum, part.out.raw(), r.out.raw(), index}, begin, end);
    for (int64_t row = begin; row < end; ++row)
      index[row] = index[row] * kPart + part.index.data<int64_t>()[row * parts + index[row]];
  });
}

template <class T>
static void extreme_integers(const Array& x, View v, bool minimum, const ExtremeResult& r) {
  const T* in = x.data<T>();
  T* out = r.out.data<T>();
  int64_t* index = r.index.data<int64_t>();
  parallel_for(v.outer * v.inner, grain_of_rows(v.n), [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const T* column = in + item / v.inner * v.n * v.inner + item % v.inner;
      int64_t best = 0;
      for (int64_t i = 1; i < v.n; ++i) {
        const T value = column[i * v.inner], old = column[best * v.inner];
        if (minimum ? value < old : value > old) best = i;
      }
      out[item] = column[best * v.inner];
      index[item] = best;
    }
  });
}

ExtremeResult extreme_forward(const char* op, const Array& x, int axis, int axis_count, bool minimum) {
  check_dtype(op, x.dtype());
  const AxisGroup g = {axis, axis_count};
  const View v = view_of(x.shape(), g);
  const Shape shape = reduced_shape(x.shape(), g, false);
  if (v.n == 0 && shape.size() > 0)
    throw ValueError(cat(op, ": nothing to choose from: x is ", x.shape().str(), ", and a reduced axis has length 0"));
  const ExtremeResult r = {Array::empty(shape, x.dtype()), Array::empty(shape, DType::int64)};
  if (shape.size() == 0) return r;
  switch (x.dtype()) {
    case DType::int64:
      extreme_integers<int64_t>(x, v, minimum, r);
      break;
    case DType::int32:
      extreme_integers<int32_t>(x, v, minimum, r);
      break;
    case DType::boolean:
      extreme_integers<bool>(x, v, minimum, r);
      break;
    default:
      if (v.inner == 1 && v.n >= int64_t(1) << 16)
        extreme_parts(op, x, v, minimum, r);
      else
        extreme_floats(op, x, v, minimum, r);
  }
  return r;
}

template <class T>
static void scatter(const Array& dout, const Array& index, View v, const Array& dx) {
  const T* from = dout.data<T>();
  const int64_t* chosen = index.data<int64_t>();
  T* to = dx.data<T>();
  parallel_for(dout.size(), grain_of_rows(1), [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item)
      to[(item / v.inner * v.n + chosen[item]) * v.inner + item % v.inner] = from[item];
  });
}

static Tensor extreme_group(const char* op, const Tensor& x, AxisGroup g, bool keepdims, bool minimum) {
  const ExtremeResult r = extreme_forward(op, x.array(), g.first, g.count, minimum);
  Array out = r.out.reshape(reduced_shape(x.shape(), g, keepdims));
  if (!is_float(x.dtype())) return no_gradient(out);
  return record(
      op, {x}, out,
      [v = view_of(x.shape(), g), shape = x.shape(), index = r.index](const Array& dout, const Needs&) -> Gradients {
        Array dx = Array::zeros(shape, dout.dtype());
        if (dout.dtype() == DType::float64)
          scatter<double>(dout, index, v, dx);
        else
          scatter<float>(dout, index, v, dx);
        return {dx};
      });
}

static Tensor extreme(const char* op, const Tensor& x, const Axes& axes, bool keepdims, bool minimum) {
  check_dtype(op, x.dtype());
  Tensor out = x;
  for (AxisGroup g : axis_groups(op, x.shape(), axes)) out = extreme_group(op, out, g, keepdims, minimum);
  return out;
}

Tensor max(const Tensor& x, const Axes& axes, bool keepdims) { return extreme("max", x, axes, keepdims, false); }
Tensor min(const Tensor& x, const Axes& axes, bool keepdims) { return extreme("min", x, axes, keepdims, true); }

static Tensor arg_extreme(const char* op, const Tensor& x, std::optional<int64_t> axis, bool keepdims, bool minimum) {
  const AxisGroup g = axis ? AxisGroup{normalize_axis(op, *axis, x.ndim()), 1} : AxisGroup{0, x.ndim()};
  const ExtremeResult r = extreme_forward(op, x.array(), g.first, g.count, minimum);
  return no_gradient(r.index.reshape(reduced_shape(x.shape(), g, keepdims)));
}

Tensor argmax(const Tensor& x, std::optional<int64_t> axis, bool keepdims) {
  return arg_extreme("argmax", x, axis, keepdims, false);
}
Tensor argmin(const Tensor& x, std::optional<int64_t> axis, bool keepdims) {
  return arg_extreme("argmin", x, axis, keepdims, true);
}

// ---- cumsum ---------------------------------------------------------------------------------------------------

// Sums of the first i + 1 elements of n, or of the last n - i in reverse.
// Integers are summed as unsigned ones, which wrap around as NumPy's do.
template <class T, class Sum>
static Array running_sums(const Array& x, View v, bool reverse) {
  Array out = Array::empty(x.shape(), std::is_same_v<Sum, uint64_t> ? DType::int64 : x.dtype());
  if (x.size() == 0) return out;
  const T* in = x.data<T>();
  Sum* sums = static_cast<Sum*>(out.raw());
  // A part of the axis at a time, so that Ctrl-C is noticed within a long one; ranges of columns are independent.
  constexpr int64_t kColumns = 1024, kPart = int64_t(1) << 18;
  const int64_t ranges = (v.inner + kColumns - 1) / kColumns, rows = kPart / std::min(v.inner, kColumns);
  for (int64_t first = 0; first < v.n; first += rows) {
    const int64_t last = std::min(v.n, first + rows);
    const auto add_part = [&](int64_t item) {
      const int64_t start = item % ranges * kColumns, stop = std::min(v.inner, start + kColumns);
      for (int64_t i = first; i < last; ++i) {
        const int64_t at = (item / ranges * v.n + (reverse ? v.n - 1 - i : i)) * v.inner;
        const int64_t before = reverse ? at + v.inner : at - v.inner;
        for (int64_t c = start; c < stop; ++c) sums[at + c] = i ? sums[before + c] + Sum(in[at + c]) : Sum(in[at + c]);
      }
    };
    parallel_for(v.outer * ranges, grain_of_rows((last - first) * std::min(v.inner, kColumns)),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t item = begin; item < end; ++item) add_part(item);
                 });
  }
  return out;
}

static Array running_sums(const Array& x, View v, bool reverse) {
  switch (x.dtype()) {
    case DType::float64:
      return running_sums<double, double>(x, v, reverse);
    case DType::int64:
      return running_sums<int64_t, uint64_t>(x, v, reverse);
    case DType::int32:
      return running_sums<int32_t, uint64_t>(x, v, reverse);
    case DType::boolean:
      return running_sums<bool, uint64_t>(x, v, reverse);
    default:
      return running_sums<float, float>(x, v, reverse);
  }
}

Tensor cumsum(const Tensor& x, int64_t axis) {
  check_dtype("cumsum", x.dtype());
  const View v = view_of(x.shape(), {normalize_axis("cumsum", axis, x.ndim()), 1});
  Array out = running_sums(x.array(), v, false);
  if (!is_float(x.dtype())) return no_gradient(out);
  return record("cumsum", {x}, out,
                [v](const Array& dout, const Needs&) -> Gradients { return {running_sums(dout, v, true)}; });
}

}  // namespace pyformer
