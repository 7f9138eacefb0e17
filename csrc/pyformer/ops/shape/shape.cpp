#include "pyformer/ops/shape/shape.h"

#include "pyformer/core/precision.h"

namespace pyformer {

// extent + more, or a ValueError: extents of arrays without elements may be so large that the sum doesn't fit int64.
static int64_t added(const char* op, int64_t extent, int64_t more) {
  int64_t sum;
  if (__builtin_add_overflow(extent, more, &sum)) throw ValueError(cat(op, ": an extent is beyond 64 bits"));
  return sum;
}

// ---- reshape ------------------------------------------------------------------------------------------------------

static Shape resolved(const Array& x, const std::vector<int64_t>& wanted) {
  Shape shape;
  int unknown = -1;
  int64_t known = 1;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i] < -1) throw ValueError(cat("reshape: extents must be >= 0, or -1 once, got ", wanted[i]));
    if (wanted[i] == -1 && unknown >= 0) throw ValueError("reshape: -1 may stand in one place only");
    if (wanted[i] == -1)
      unknown = int(i);
    else
      known = checked_multiply(known, wanted[i]);
    shape.push_back(wanted[i] == -1 ? 0 : wanted[i]);
  }
  if (unknown >= 0) {
    if (known == 0 || x.size() % known)
      throw ValueError(cat("reshape: cannot divide ", x.size(), " elements of ", x.shape().str(), " by ", known));
    shape[unknown] = x.size() / known;
  }
  return shape;
}

Tensor reshape(const Tensor& x, const std::vector<int64_t>& shape) {
  if (has_narrow({x})) return reshape(widened(x), shape);
  return record("reshape", {x}, x.array().reshape(resolved(x.array(), shape)),
                [shape = x.shape()](const Array& dout, const Needs&) -> Gradients { return {dout.reshape(shape)}; });
}

// ---- transpose ----------------------------------------------------------------------------------------------------

Array transpose_forward(const Array& x, const std::vector<int>& axes) {
  const Region whole = region_of(x);
  Region permuted = whole;
  Shape shape;
  for (size_t i = 0; i < axes.size(); ++i) {
    shape.push_back(x.dim(axes[i]));
    permuted.strides[i] = whole.strides[axes[i]];
  }
  const Array out = x.like(shape);
  strided_copy(shape, x.dtype(), x.device(), region_of(out), permuted);
  return out;
}

Tensor transpose(const Tensor& x, const std::vector<int64_t>& wanted) {
  if (has_narrow({x})) return transpose(widened(x), wanted);
  const int ndim = x.ndim();
  std::vector<int> axes, inverse(static_cast<size_t>(ndim), -1);
  if (wanted.empty())
    for (int i = ndim - 1; i >= 0; --i) axes.push_back(i);
  for (int64_t axis : wanted) axes.push_back(normalize_axis("transpose", axis, ndim));
  if (int(axes.size()) != ndim)
    throw ValueError(cat("transpose: expected ", ndim, " axes for shape ", x.shape().str(), ", got ", axes.size()));
  for (size_t i = 0; i < axes.size(); ++i) {
    if (inverse[size_t(axes[i])] >= 0) throw ValueError(cat("transpose: axis ", axes[i], " is named twice"));
    inverse[size_t(axes[i])] = int(i);
  }
  return record("transpose", {x}, transpose_forward(x.array(), axes),
                [inverse](const Array& dout, const Needs&) -> Gradients { return {transpose_forward(dout, inverse)}; });
}

// ---- slice --------------------------------------------------------------------------------------------------------

// Within x, the elements that ranges select.
static Region selected(const Array& x, const std::vector<SliceRange>& ranges, Shape* shape) {
  if (int(ranges.size()) != x.ndim())
    throw IndexError(cat("slice: expected ", x.ndim(), " ranges for shape ", x.shape().str(), ", got ", ranges.size()));
  const Region whole = region_of(x);
  int64_t offset = 0;
  for (int i = 0; i < x.ndim(); ++i) {
    const SliceRange& r = ranges[size_t(i)];
    const int64_t last = r.start + (r.count - 1) * r.step;
    if (r.count > 0 && (r.start < 0 || r.start >= x.dim(i) || last < 0 || last >= x.dim(i)))
      throw IndexError(cat("slice: ", r.start, " to ", last, " is outside axis ", i, " of ", x.shape().str()));
    offset += r.count > 0 ? r.start * whole.strides[i] : 0;
    shape->push_back(r.count);
  }
  Region region = region_of(x, offset);
  for (int i = 0; i < x.ndim(); ++i) region.strides[i] *= ranges[size_t(i)].step;
  return region;
}

Array slice_forward(const Array& x, const std::vector<SliceRange>& ranges) {
  Shape shape;
  const Region from = selected(x, ranges, &shape);
  const Array out = x.like(shape);
  strided_copy(shape, x.dtype(), x.device(), region_of(out), from);
  return out;
}

void slice_assign_(const Array& x, const std::vector<SliceRange>& ranges, const Region& values) {
  Shape shape;
  const Region to = selected(x, ranges, &shape);
  strided_copy(shape, x.dtype(), x.device(), to, values);
  x.storage().written();
}

void slice_assign_(const Array& x, const std::vector<SliceRange>& ranges, const Array& values) {
  Shape shape;
  for (const SliceRange& range : ranges) shape.push_back(range.count);
  if (!(values.shape() == shape) || values.dtype() != x.dtype())
    throw ValueError(cat("slice: expected values of ", name(x.dtype()), " ", shape.str(), ", got ",
                         name(values.dtype()), " ", values.shape().str()));
  check_device("slice", "values", values, "x", x);
  slice_assign_(x, ranges, region_of(values));
}

static Array slice_backward(const Array& dout, const Shape& shape, const std::vector<SliceRange>& ranges) {
  const Array dx = dout.zeros_like(shape);
  slice_assign_(dx, ranges, dout);
  return dx;
}

Tensor slice(const Tensor& x, const std::vector<SliceRange>& ranges) {
  if (has_narrow({x})) return slice(widened(x), ranges);
  return record("slice", {x}, slice_forward(x.array(), ranges),
                [shape = x.shape(), ranges](const Array& dout, const Needs&) -> Gradients {
                  return {slice_backward(dout, shape, ranges)};
                });
}

static std::vector<SliceRange> all_of(const Shape& shape) {
  std::vector<SliceRange> ranges;
  for (int64_t extent : shape) ranges.push_back({0, 1, extent});
  return ranges;
}

// ---- concat, stack, split -----------------------------------------------------------------------------------------

static std::vector<SliceRange> part_of(const Shape& whole, int axis, int64_t start, int64_t count) {
  std::vector<SliceRange> ranges = all_of(whole);
  ranges[size_t(axis)] = {start, 1, count};
  return ranges;
}

Array concat_forward(const std::vector<Array>& xs, int axis) {
  Shape shape = xs[0].shape();
  shape[axis] = 0;
  for (const Array& x : xs) {
    Shape expected = xs[0].shape();
    if (x.ndim() == expected.ndim()) expected[axis] = x.dim(axis);
    if (!(x.shape() == expected))
      throw ValueError(
          cat("concat: expected ", xs[0].shape().str(), " but for axis ", axis, ", got ", x.shape().str()));
    if (x.dtype() != xs[0].dtype())
      throw TypeError(cat("concat: expected ", name(xs[0].dtype()), ", got ", name(x.dtype())));
    check_device("concat", "a tensor", x, "the first", xs[0]);
    shape[axis] = added("concat", shape[axis], x.dim(axis));
  }
  const Array out = xs[0].like(shape);
  int64_t start = 0;
  for (const Array& x : xs) {
    if (x.size()) {
      Shape extents;
      const Region to = selected(out, part_of(shape, axis, start, x.dim(axis)), &extents);
      strided_copy(extents, x.dtype(), x.device(), to, region_of(x));
    }
    start += x.dim(axis);
  }
  return out;
}

Tensor concat(const std::vector<Tensor>& xs, int64_t wanted_axis) {
  if (has_narrow(xs)) {
    std::vector<Tensor> wide;
    for (const Tensor& x : xs) wide.push_back(widened(x));
    return concat(wide, wanted_axis);
  }
  if (xs.empty()) throw ValueError("concat: expected at least one tensor");
  const int axis = normalize_axis("concat", wanted_axis, xs[0].ndim());
  std::vector<Array> arrays;
  std::vector<int64_t> sizes;
  for (const Tensor& x : xs) arrays.push_back(x.array());
  const Array out = concat_forward(arrays, axis);
  for (const Array& x : arrays) sizes.push_back(x.dim(axis));
  return record("concat", xs, out, [axis, sizes](const Array& dout, const Needs& need) -> Gradients {
    Gradients gradients;
    int64_t start = 0;
    for (size_t i = 0; i < sizes.size(); ++i) {
      gradients.push_back(need[int(i)] ? slice_forward(dout, part_of(dout.shape(), axis, start, sizes[i])) : Array());
      start += sizes[i];
    }
    return gradients;
  });
}

Tensor stack(const std::vector<Tensor>& xs, int64_t wanted_axis) {
  if (xs.empty()) throw ValueError("stack: expected at least one tensor");
  const int axis = normalize_axis("stack", wanted_axis, xs[0].ndim() + 1);
  std::vector<Tensor> rows;
  for (const Tensor& x : xs) {
    if (!(x.shape() == xs[0].shape()))
      throw ValueError(cat("stack: expected shape ", xs[0].shape().str(), ", got ", x.shape().str()));
    std::vector<int64_t> shape(x.shape().begin(), x.shape().end());
    shape.insert(shape.begin() + axis, 1);
    rows.push_back(reshape(x, shape));
  }
  return concat(rows, axis);
}

std::vector<Tensor> split(const Tensor& x, const std::vector<int64_t>& sizes, int64_t wanted_axis) {
  if (has_narrow({x})) return split(widened(x), sizes, wanted_axis);
  const int axis = normalize_axis("split", wanted_axis, x.ndim());
  int64_t total = 0;
  for (int64_t size : sizes) {
    if (size < 0) throw ValueError(cat("split: sizes must be >= 0, got ", size));
    total = added("split", total, size);
  }
  if (total != x.dim(axis))
    throw ValueError(cat("split: sizes must add up to ", x.dim(axis), ", the extent of axis ", axis, ", got ", total));
  std::vector<Array> parts;
  int64_t start = 0;
  for (int64_t size : sizes) {
    parts.push_back(slice_forward(x.array(), part_of(x.shape(), axis, start, size)));
    start += size;
  }
  return record_outputs("split", {x}, parts, [axis](const std::vector<Array>& douts, const Needs&) -> Gradients {
    return {concat_forward(douts, axis)};
  });
}

// ---- pad ----------------------------------------------------------------------------------------------------------

Tensor pad(const Tensor& x, const std::vector<std::pair<int64_t, int64_t>>& widths) {
  if (has_narrow({x})) return pad(widened(x), widths);
  if (int(widths.size()) != x.ndim())
    throw ValueError(cat("pad: expected ", x.ndim(), " pairs for shape ", x.shape().str(), ", got ", widths.size()));
  Shape shape = x.shape();
  std::vector<SliceRange> inside;
  for (int i = 0; i < x.ndim(); ++i) {
    const auto [before, after] = widths[size_t(i)];
    if (before < 0 || after < 0) throw ValueError(cat("pad: widths must be >= 0, got (", before, ", ", after, ")"));
    shape[i] = added("pad", shape[i], added("pad", before, after));
    inside.push_back({before, 1, x.dim(i)});
  }
  Array out = x.array().zeros_like(shape);
  if (x.array().size()) slice_assign_(out, inside, x.array());
  return record("pad", {x}, out,
                [inside](const Array& dout, const Needs&) -> Gradients { return {slice_forward(dout, inside)}; });
}

}  // namespace pyformer
