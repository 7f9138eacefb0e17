#include "pyformer/ops/reduce/reduce.h"

#include "pyformer/base/run.h"
#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/core/precision.h"
#include "pyformer/ops/reduce/reduce_kernels.h"

namespace pyformer {

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

// ---- sums -----------------------------------------------------------------------------------------------------

// How many columns one task takes: fewer where there would be few tasks.
static int64_t columns_of_task(int64_t blocks, int64_t inner) {
  constexpr int64_t kTasks = 32, kLeast = 64;
  int64_t columns = smaller(SumBlocks::kColumns, inner < 1 ? 1 : inner);
  while (columns >= 2 * kLeast && blocks * (inner / columns) < kTasks) columns /= 2;
  return columns;
}

Array sum_middle(const Array& x, int64_t outer, int64_t n, int64_t inner, double divisor) {
  const Array out = x.like({outer, inner}, accumulator(x.dtype()));
  if (!is_float(x.dtype())) {
    run("sum", &ReduceTable::sum_integers, x, SumIntegers{outer, n, inner, x.raw(), static_cast<uint64_t*>(out.raw())});
    return out;
  }
  const int64_t blocks = (n + kReduceBlock - 1) / kReduceBlock, columns = columns_of_task(outer * blocks, inner);
  const bool one_step = blocks == 1;
  const Array sums = one_step ? out : out.like({outer, blocks, inner});
  run("sum", &ReduceTable::sum_blocks, x,
      SumBlocks{outer, n, inner, blocks, columns, one_step ? divisor : 1.0, x.raw(), sums.raw()});
  if (!one_step)
    run("sum", &ReduceTable::sum_tree, sums, SumTree{outer, blocks, inner, divisor, sums.raw(), out.raw()});
  return out;
}

static Array sum_view(const Array& x, View v, double divisor) { return sum_middle(x, v.outer, v.n, v.inner, divisor); }

// What sums of this dtype are given in.
static DType sum_dtype(DType dtype) { return is_float(dtype) ? dtype : DType::int64; }

Array sum_wide(const Array& x, const Axes& axes, bool keepdims) {
  Array out = x;
  for (AxisGroup g : axis_groups("sum", x.shape(), axes))
    out = sum_view(out, view_of(out.shape(), g), 1.0).reshape(reduced_shape(out.shape(), g, keepdims));
  return out;
}

Array sum_forward(const Array& x, const Axes& axes, bool keepdims) {
  const Array out = sum_wide(x, axes, keepdims);
  return is_float(x.dtype()) ? cast(out, x.dtype()) : out;
}

// The gradient of sum_view: dout / divisor for every element that went into a sum.
static Array spread(const Array& dout, View v, double divisor, const Shape& shape) {
  Array dx = dout.like(shape);
  run("sum", &ReduceTable::spread, dout,
      Spread{v.outer, v.n, v.inner, divisor, dout.raw(), dx.raw(), dx.bytes() >= kNontemporalToAll});
  return dx;
}

// wanted: the dtype to give the sums in, that of x or its accumulator, where further groups follow.
static Tensor sum_group(const char* op, const Tensor& x, AxisGroup g, bool keepdims, double divisor, DType wanted) {
  const View v = view_of(x.shape(), g);
  Array out = cast(sum_view(x.array(), v, divisor), wanted).reshape(reduced_shape(x.shape(), g, keepdims));
  if (!is_float(x.dtype())) return no_gradient(out);
  return record(op, {x}, out,
                [v, divisor, shape = x.shape(), dtype = x.dtype()](const Array& dout, const Needs&) -> Gradients {
                  const bool widen = dtype == accumulator(dout.dtype());
                  return {spread(widen ? cast(dout, dtype) : dout, v, divisor, shape)};
                });
}

static Tensor sum_groups(const char* op, const Tensor& x, const std::vector<AxisGroup>& groups, bool keepdims,
                         double divisor) {
  if (has_narrow({x})) return sum_groups(op, widened(x), groups, keepdims, divisor);
  Tensor out = x;
  for (size_t i = 0; i < groups.size(); ++i) {
    const bool last = i + 1 == groups.size();
    out = sum_group(op, out, groups[i], keepdims, last ? divisor : 1.0,
                    last ? sum_dtype(x.dtype()) : accumulator(x.dtype()));
  }
  return out;
}

Tensor sum(const Tensor& x, const Axes& axes, bool keepdims) {
  return sum_groups("sum", x, axis_groups("sum", x.shape(), axes), keepdims, 1.0);
}

Tensor mean(const Tensor& x, const Axes& axes, bool keepdims) {
  if (!is_float(x.dtype())) throw TypeError(cat("mean: expected floats, got ", name(x.dtype())));
  const std::vector<AxisGroup> groups = axis_groups("mean", x.shape(), axes);
  return sum_groups("mean", x, groups, keepdims, double(reduced_count(x.shape(), groups)));
}

// ---- extremes -------------------------------------------------------------------------------------------------

ExtremeResult extreme_forward(const char* op, const Array& x, int axis, int axis_count, bool minimum) {
  const AxisGroup g = {axis, axis_count};
  const View v = view_of(x.shape(), g);
  const Shape shape = reduced_shape(x.shape(), g, false);
  if (v.n == 0 && shape.size() > 0)
    throw ValueError(cat(op, ": nothing to choose from: x is ", x.shape().str(), ", and a reduced axis has length 0"));
  const ExtremeResult r = {x.like(shape), x.like(shape, DType::int64)};
  int64_t* index = static_cast<int64_t*>(r.index.raw());
  const int64_t parts = v.inner == 1 && v.n >= Extreme::kPartsFrom ? (v.n + Extreme::kPart - 1) / Extreme::kPart : 1;
  Extreme args = {v.outer, v.n, v.inner, parts, minimum, x.raw(), r.out.raw(), index};
  if (parts == 1) {
    run(op, v.inner == 1 ? &ReduceTable::extreme_rows : &ReduceTable::extreme_columns, x, args);
    return r;
  }
  const Array values = x.like({v.outer, parts}), part_index = x.like({v.outer, parts}, DType::int64);
  args.out = values.raw();
  args.index = static_cast<int64_t*>(part_index.raw());
  run(op, &ReduceTable::extreme_rows, x, args);
  run(op, &ReduceTable::extreme_of_parts, x,
      ExtremeOfParts{v.outer, parts, minimum, values.raw(), args.index, r.out.raw(), index});
  return r;
}

static Array scatter(const char* op, const Array& dout, const Array& index, View v, const Shape& shape) {
  const Array dx = dout.zeros_like(shape);
  run(op, &ReduceTable::scatter, dout,
      Scatter{v.outer, v.n, v.inner, dout.raw(), static_cast<const int64_t*>(index.raw()), dx.raw()});
  return dx;
}

static Tensor extreme_group(const char* op, const Tensor& x, AxisGroup g, bool keepdims, bool minimum) {
  const ExtremeResult r = extreme_forward(op, x.array(), g.first, g.count, minimum);
  Array out = r.out.reshape(reduced_shape(x.shape(), g, keepdims));
  if (!is_float(x.dtype())) return no_gradient(out);
  return record(op, {x}, out,
                [op, v = view_of(x.shape(), g), shape = x.shape(), index = r.index](
                    const Array& dout, const Needs&) -> Gradients { return {scatter(op, dout, index, v, shape)}; });
}

static Tensor extreme(const char* op, const Tensor& x, const Axes& axes, bool keepdims, bool minimum) {
  if (has_narrow({x})) return extreme(op, widened(x), axes, keepdims, minimum);
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

// Sums of the first i + 1 elements of n, or of the last n - i in reverse, in the accumulator's dtype.
static Array running_sums(const Array& x, View v, bool reverse) {
  const Array out = x.like(x.shape(), accumulator(x.dtype()));
  if (x.size() == 0) return out;
  const int64_t chains = (v.n + kChainLength - 1) / kChainLength;
  const Array bases = chains > 1 ? out.like({v.outer, chains, v.inner}) : Array();
  const RunningSums sums = {v.outer, v.n, v.inner, chains, reverse, x.raw(), bases.raw(), out.raw()};
  if (chains > 1) {
    run("cumsum", &ReduceTable::running_totals, x, sums);
    run("cumsum", &ReduceTable::running_bases, bases, RunningBases{v.outer, chains, v.inner, reverse, bases.raw()});
  }
  run("cumsum", &ReduceTable::running_sums, x, sums);
  return out;
}

Tensor cumsum(const Tensor& x, int64_t axis) {
  if (has_narrow({x})) return cumsum(widened(x), axis);
  const View v = view_of(x.shape(), {normalize_axis("cumsum", axis, x.ndim()), 1});
  const Array out = cast(running_sums(x.array(), v, false), sum_dtype(x.dtype()));
  if (!is_float(x.dtype())) return no_gradient(out);
  return record("cumsum", {x}, out,
                [v](const Array& dout, const Needs&) -> Gradients { return {running_sums(dout, v, true)}; });
}

}  // namespace pyformer
