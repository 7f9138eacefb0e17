// Operations that move elements, and indexing.
#include <limits>

#include "bindings.h"
#include "pyformer/base/float_mode.h"
#include "pyformer/base/thread_pool.h"
#include "pyformer/ops/cache_append/cache_append.h"
#include "pyformer/ops/cast/cast.h"
#include "pyformer/ops/embedding/embedding.h"
#include "pyformer/ops/gather/gather.h"
#include "pyformer/ops/shape/shape.h"
#include "pyformer/ops/to/to.h"

namespace pyformer::bindings {

// Reads the integers 2, 3 from the arguments (2, 3) as well as from ((2, 3),).
static std::vector<int64_t> integers(const char* op, const py::args& args) {
  const bool nested = args.size() == 1 && (py::isinstance<py::tuple>(args[0]) || py::isinstance<py::list>(args[0]));
  return argument<std::vector<int64_t>>(op, "integers", nested ? py::object(args[0]) : py::object(args));
}

// ---- x[...] -------------------------------------------------------------------------------------------------------

static std::vector<SliceRange> whole(const Shape& shape) {
  std::vector<SliceRange> ranges;
  for (int64_t extent : shape) ranges.push_back({0, 1, extent});
  return ranges;
}

// An index made of integers, slices, `...` and None: x is sliced by `ranges`, then reshaped to `shape`, which lacks the
// axes of integers and has those of None. axes[i] is x's axis that the result's axis i comes from, -1 for None.
struct BasicIndex {
  std::vector<SliceRange> ranges;
  std::vector<int64_t> shape;
  std::vector<int> axes;

  void keep(int axis, int64_t extent) {
    shape.push_back(extent);
    axes.push_back(axis);
  }
};

static BasicIndex parse_basic(const py::tuple& key, const Shape& shape) {
  int named = 0;
  for (const py::handle& k : key) named += !k.is_none() && !py::isinstance<py::ellipsis>(k);
  if (named > shape.ndim()) throw IndexError(cat("index: ", named, " indices for a tensor of shape ", shape.str()));
  BasicIndex index{whole(shape), {}, {}};
  int axis = 0;
  bool seen_ellipsis = false;
  for (const py::handle& k : key) {
    if (k.is_none()) {
      index.keep(-1, 1);
    } else if (py::isinstance<py::ellipsis>(k)) {
      if (seen_ellipsis) throw IndexError("index: '...' may stand in one place only");
      seen_ellipsis = true;
      for (int skip = shape.ndim() - named; skip > 0; --skip, ++axis) index.keep(axis, shape[axis]);
    } else if (py::isinstance<py::slice>(k)) {
      py::ssize_t start, stop, step, count;
      if (!py::reinterpret_borrow<py::slice>(k).compute(shape[axis], &start, &stop, &step, &count))
        throw py::error_already_set();
      index.ranges[size_t(axis)] = {start, step, count};
      index.keep(axis++, count);
    } else {
      const Py_ssize_t i = PyNumber_AsSsize_t(k.ptr(), PyExc_IndexError);
      if (i == -1 && PyErr_Occurred()) throw py::error_already_set();
      if (i < -shape[axis] || i >= shape[axis])
        throw IndexError(cat("index: ", i, " is out of range for axis ", axis, " of ", shape.str()));
      index.ranges[size_t(axis)] = {i < 0 ? i + shape[axis] : i, 1, 1};
      ++axis;
    }
  }
  for (; axis < shape.ndim(); ++axis) index.keep(axis, shape[axis]);
  return index;
}

static bool is_basic(const py::handle& k) {
  return k.is_none() || py::isinstance<py::ellipsis>(k) || py::isinstance<py::slice>(k) ||
         (PyIndex_Check(k.ptr()) && !py::isinstance<py::array>(k) && !py::isinstance<Tensor>(k) &&
          !PyBool_Check(k.ptr()));
}

static py::tuple parts_of(const py::object& key) {
  return py::isinstance<py::tuple>(key) ? py::tuple(key) : py::make_tuple(key);
}

static bool is_basic_key(const py::tuple& parts) {
  for (const py::handle& k : parts)
    if (!is_basic(k)) return false;
  return true;
}

// Replaces the Tensors in a key, which may be on any device, by NumPy arrays.
static py::tuple parts_on_cpu(const py::tuple& parts) {
  py::tuple here{parts.size()};
  for (size_t i = 0; i < parts.size(); ++i) {
    const py::object part = parts[i];
    if (!py::isinstance<Tensor>(part)) {
      here[i] = part;
      continue;
    }
    const Array index = on_cpu(part.cast<const Tensor&>().array());
    if (is_float(index.dtype()))
      throw IndexError(cat("index: expected integers or booleans, got a tensor of ", name(index.dtype())));
    here[i] = numpy_of(index);
  }
  return here;
}

// Raises unless the mask's shape is that of the tensor's axes from `axis` on.
static void check_mask(const py::array& mask, int axis, const Shape& shape) {
  bool fits = mask.ndim() > 0 && axis + mask.ndim() <= shape.ndim();
  for (int i = 0; fits && i < mask.ndim(); ++i) fits = mask.shape(i) == shape[axis + i];
  if (!fits)
    throw IndexError(cat("index: a mask of shape ", py::str(mask.attr("shape")).cast<std::string>(),
                         " does not fit a tensor of shape ", shape.str(), " from axis ", axis));
}

// Converts a key's arrays to int64 index arrays, one for each axis; a mask becomes the indices at which it is True.
static py::list index_arrays(const Shape& shape, const py::tuple& key) {
  const py::module_ numpy = py::module_::import("numpy");
  py::list indices;
  for (const py::handle& k : key) {
    const bool is_list = py::isinstance<py::list>(k) || py::isinstance<py::tuple>(k);
    refuse_lossy("index", k);
    py::array array;
    try {
      array = call_method(numpy, "asarray", k);
    } catch (const py::error_already_set& error) {
      if (!error.matches(PyExc_ValueError)) throw;
      throw IndexError(cat("index: expected an array of integers or booleans, got ", shown(k)));
    }
    const char kind = array.dtype().kind();
    if (kind == 'b') {
      check_mask(array, int(indices.size()), shape);
      for (const py::handle& axis_indices : call_method(array, "nonzero")) indices.append(axis_indices);
    } else if (kind == 'i' || kind == 'u' || (is_list && array.size() == 0)) {
      if (kind == 'u' && array.itemsize() == 8)  // uint64 values beyond int64 stay out of range
        array = call_method(numpy, "minimum", array, std::numeric_limits<int64_t>::max());
      indices.append(call_method(array, "astype", "int64"));
    } else {
      throw IndexError("index: expected integers, slices, '...', None, or arrays of integers or booleans");
    }
  }
  return indices;
}

// x[i, j, ...] with integer or boolean arrays for the leading axes: those axes are flattened to one, whose rows
// embedding() looks up.
static Tensor take_rows(const Tensor& x, const py::tuple& key) {
  const py::module_ numpy = py::module_::import("numpy");
  const py::list indices = index_arrays(x.shape(), key);
  const int leading = int(py::len(indices));
  if (leading == 0 || leading > x.ndim())
    throw IndexError(cat("index: ", leading, " index arrays for a tensor of shape ", x.shape().str()));
  py::tuple extents{size_t(leading)};
  py::list wrapped;
  for (int i = 0; i < leading; ++i) {
    const int64_t extent = x.dim(i);
    const py::object index = indices[size_t(i)];
    if (index.attr("size").cast<int64_t>() != 0 &&
        (call_method(index, "min").cast<int64_t>() < -extent || call_method(index, "max").cast<int64_t>() >= extent))
      throw IndexError(cat("index: an index array is out of range for axis ", i, " of ", x.shape().str()));
    extents[size_t(i)] = extent;
    wrapped.append(
        call_method(numpy, "where", call_method(index, "__lt__", 0), call_method(index, "__add__", extent), index));
  }
  const py::object linear = call_method(numpy, "ravel_multi_index", py::tuple(wrapped), extents);
  const Tensor ids =
      tensor_from(call_method(numpy, "asarray", linear, "int64"), py::none(), py::cast(x.device()), false);
  ReleaseGil release;
  std::vector<int64_t> rest(x.shape().begin() + leading, x.shape().end());
  int64_t rows = 1, columns = 1;
  for (int i = 0; i < leading; ++i) rows *= x.dim(i);
  for (int64_t extent : rest) columns *= extent;
  const Tensor picked = embedding(ids, reshape(x, {rows, columns}));
  std::vector<int64_t> shape(ids.shape().begin(), ids.shape().end());
  shape.insert(shape.end(), rest.begin(), rest.end());
  return reshape(picked, shape);
}

// x[key] for a key of arrays together with slices or None, by NumPy's rules: NumPy indexes each axis' numbers, spread
// over all of them without a copy, and embedding() looks up the places that these give together. Axes behind the last
// that the key names stay whole rows.
static Tensor take_places(const Tensor& x, const py::tuple& key) {
  int axes = 0;
  for (const py::handle& k : key) {
    refuse_lossy("index", k);
    if (py::isinstance<py::ellipsis>(k)) axes += x.ndim();
    const bool is_mask = py::isinstance<py::array>(k) && py::cast<py::array>(k).dtype().kind() == 'b';
    if (!k.is_none()) axes += is_mask ? int(py::cast<py::array>(k).ndim()) : 1;
  }
  axes = std::min(axes, x.ndim());
  py::tuple extents{size_t(axes)};
  int64_t rows = 1, columns = 1;
  for (int i = 0; i < x.ndim(); ++i) (i < axes ? rows : columns) *= x.dim(i);
  for (int i = 0; i < axes; ++i) extents[size_t(i)] = x.dim(i);
  const py::module_ numpy = py::module_::import("numpy");
  const py::module_ operators = py::module_::import("operator");
  const auto taken_of = [&](const py::object& numbers) {
    return py::object(call_method(operators, "getitem", call_method(numpy, "broadcast_to", numbers, extents), key));
  };
  py::object taken;
  try {
    taken = taken_of(py::int_(0));
    const bool is_empty = call_method(numpy, "size", taken).cast<int64_t>() == 0;
    int64_t step = 1;
    for (int i = axes - 1; i >= 0 && !is_empty; step *= x.dim(i--)) {
      py::tuple one{size_t(axes)};
      for (int j = 0; j < axes; ++j) one[size_t(j)] = j == i ? x.dim(i) : 1;
      const py::object numbers = call_method(call_method(numpy, "arange", x.dim(i)), "reshape", one);
      taken = call_method(operators, "add", taken, call_method(operators, "mul", taken_of(numbers), step));
    }
  } catch (const py::error_already_set& error) {
    throw IndexError(cat("index: ", py::str(error.value()).cast<std::string>()));
  }
  const Tensor ids =
      tensor_from(call_method(numpy, "asarray", taken, "int64"), py::none(), py::cast(x.device()), false);
  const ReleaseGil release;
  std::vector<int64_t> shape(ids.shape().begin(), ids.shape().end());
  shape.insert(shape.end(), x.shape().begin() + axes, x.shape().end());
  return reshape(embedding(ids, reshape(x, {rows, columns})), shape);
}

static bool has_slice(const py::tuple& parts) {
  for (const py::handle& k : parts)
    if (k.is_none() || py::isinstance<py::ellipsis>(k) || py::isinstance<py::slice>(k)) return true;
  return false;
}

// The result of x[...] with integers and slices, of x.T, of x.transpose() and of split(): a copy, where NumPy and torch
// return a view. A write into it would silently leave x unchanged, so it is refused. Operations on it return plain
// Tensors.
struct IndexCopy : Tensor {
  explicit IndexCopy(Tensor tensor) : Tensor(std::move(tensor)) {}
};

static py::object get_item(const Tensor& x, const py::object& key) {
  const py::tuple parts = parts_of(key);
  if (!is_basic_key(parts))
    return py::cast(has_slice(parts) ? take_places(x, parts_on_cpu(parts)) : take_rows(x, parts_on_cpu(parts)));
  const BasicIndex index = parse_basic(parts, x.shape());
  return py::cast(IndexCopy([&] {
    const ReleaseGil release;
    return reshape(slice(x, index.ranges), index.shape);
  }()));
}

static void refuse_write(const IndexCopy&, const py::object&, const py::object&) {
  throw std::runtime_error(
      "x[i] = v: x is a copy that indexing, split or a transpose made, so that nothing else would change; write into "
      "the "
      "tensor itself in one step, a[0, 1] = v for a[0][1] = v, or into x.clone()");
}

// ---- x[...] = v ---------------------------------------------------------------------------------------------------

static constexpr const char* kWrite = "x[i] = v";

// Converts v to x's dtype. A Tensor must be on x's device; anything else is read by NumPy into memory of the CPU.
static Array values_for(const Tensor& x, const py::object& value) {
  if (py::isinstance<Tensor>(value)) {
    const Tensor v = value.cast<Tensor>();
    if (v.requires_grad() && grad_enabled())
      throw std::runtime_error("x[i] = v: v requires grad, and writes in place record none");
    if (is_float(v.dtype()) && v.dtype() != x.dtype())
      throw TypeError(cat("x[i] = v: expected v of dtype ", name(x.dtype()), ", got ", name(v.dtype())));
    check_device(kWrite, "v", v.array(), "x", x.array());
    const ReleaseGil release;
    return cast(v.array(), x.dtype());
  }
  // NumPy would turn None into NaN and text into numbers.
  refuse_lossy(kWrite, value);
  const py::module_ numpy = py::module_::import("numpy");
  const py::array values = call_method(numpy, "asarray", value);
  const std::string kinds = "biuf";
  if (kinds.find(values.dtype().kind()) == kinds.npos)
    throw TypeError(cat("x[i] = v: expected numbers for v, got ", shown(value)));
  // NumPy has no bfloat16, and it rounds integers twice when it converts them to float32; cast rounds once.
  const DType dtype = is_float(x.dtype()) && values.dtype().kind() == 'i' ? DType::int64
                      : x.dtype() == DType::bfloat16                      ? DType::float64
                                                                          : x.dtype();
  const py::object converted = call_method(numpy, "empty", values.attr("shape"), name(dtype));
  call_method(py::module_::import("operator"), "setitem", converted, py::ellipsis(), value);
  const Tensor made = tensor_sharing(converted);
  const ReleaseGil release;
  return cast(made.array(), x.dtype());
}

// v's memory as a region with the axes of the indexed tensor; the stride is 0 along axes that v is broadcast over.
static Region spread(const Array& v, const BasicIndex& index) {
  const Region own = region_of(v);
  Region region{own.start, {}};
  const int missing = int(index.shape.size()) - v.ndim();
  for (int i = 0; i < v.ndim(); ++i) {
    const int at = missing + i;  // below 0: the indexed tensor has no such axis
    if (v.dim(i) != 1 && (at < 0 || v.dim(i) != index.shape[size_t(at)]))
      throw ValueError(cat("x[i] = v: expected v of a shape that broadcasts to ",
                           py::str(py::tuple(py::cast(index.shape))).cast<std::string>(), ", got ", v.shape().str()));
    if (v.dim(i) != 1 && index.axes[size_t(at)] >= 0) region.strides[index.axes[size_t(at)]] = own.strides[i];
  }
  return region;
}

static bool overlap(const Array& a, const Array& b) {
  const char *first = static_cast<const char*>(a.raw()), *second = static_cast<const char*>(b.raw());
  return first < second + b.bytes() && second < first + a.bytes();
}

static void write_basic(const Array& x, const BasicIndex& index, const Array& values) {
  spread(values, index);  // raises before anything is copied
  const ReleaseGil release;
  const DeferInterrupts to_the_end;
  const Array there = to(values, x.device());
  const Array apart = overlap(there, x) ? there.copy() : there;
  slice_assign_(x, index.ranges, spread(apart, index));
}

// A NumPy array over the same memory, to move elements through; bfloat16, which NumPy lacks, is called float16 there.
static py::array movable(const Array& array) {
  if (array.dtype() != DType::bfloat16) return numpy_of(array);
  return numpy_of(
      Array::borrow(array.raw(), array.shape(), DType::float16, array.device(), std::make_shared<Array>(array)));
}

// Lets NumPy write, as it knows every kind of key. A tensor on another device is copied to the CPU and back.
static void write_numpy(const Array& x, const py::tuple& key, const Array& values) {
  const Array here = on_cpu(x), sources = on_cpu(values);
  call_method(py::module_::import("operator"), "setitem", movable(here), key, movable(sources));
  if (x.device().is_cpu()) return x.storage().written();
  const ReleaseGil release;
  const DeferInterrupts to_the_end;
  slice_assign_(x, whole(x.shape()), to(here, x.device()));
}

// x[key] = value, in place, by NumPy's rules for keys and broadcasting.
static void set_item(const Tensor& x, const py::object& key, const py::object& value) {
  check_writable(kWrite, x);
  const DefaultFloatMode mode;
  const auto said = [](const char* text) {
    const std::string start = cat(kWrite, ": ");
    return std::string(text).rfind(start, 0) == 0 ? std::string(text) : start + text;
  };
  refuse_lossy(kWrite, key);
  try {
    const py::tuple parts = parts_of(key);
    const Array values = values_for(x, value);
    if (is_basic_key(parts))
      write_basic(x.array(), parse_basic(parts, x.shape()), values);
    else
      write_numpy(x.array(), parts_on_cpu(parts), values);
  } catch (const py::error_already_set& error) {
    const std::string text = said(py::str(error.value()).cast<std::string>().c_str());
    if (error.matches(PyExc_IndexError)) throw IndexError(text);
    if (error.matches(PyExc_ValueError) || error.matches(PyExc_OverflowError)) throw ValueError(text);
    if (error.matches(PyExc_TypeError)) throw TypeError(text);
    throw;
  } catch (const IndexError& error) {
    throw IndexError(said(error.what()));
  } catch (const ValueError& error) {
    throw ValueError(said(error.what()));
  }
}

static Tensor reshape_to(const Tensor& x, const py::args& args) {
  const std::vector<int64_t> shape = integers("reshape", args);
  ReleaseGil release;
  return reshape(x, shape);
}

static py::object transposed_copy(const Tensor& x, const std::vector<int64_t>& axes) {
  return py::cast(IndexCopy([&] {
    const ReleaseGil release;
    return transpose(x, axes);
  }()));
}

static py::object transpose_to(const Tensor& x, const py::args& args) {
  return transposed_copy(x, integers("transpose", args));
}

static Tensor pad_by(const Tensor& x, const py::object& widths) {
  const auto pairs =
      argument<std::vector<std::pair<int64_t, int64_t>>>("pad", "a pair (before, after) for each axis", widths);
  ReleaseGil release;
  return pad(x, pairs);
}

static std::vector<int64_t> part_sizes(const Tensor& x, const py::object& sizes, int64_t wanted_axis) {
  const char* expected = "an integer or a list of integers";
  if (!PyIndex_Check(sizes.ptr())) return argument<std::vector<int64_t>>("split", expected, sizes);
  const int64_t size = argument<int64_t>("split", expected, sizes);
  if (size <= 0) throw ValueError(cat("split: the size of a part must be positive, got ", size));
  const int64_t extent = x.dim(normalize_axis("split", wanted_axis, x.ndim()));
  if (extent / size > int64_t(1) << 28) throw OutOfMemory(cat("split: ", extent / size, " parts"));
  std::vector<int64_t> parts;
  for (int64_t left = extent; left > 0; left -= size) parts.push_back(std::min(left, size));
  return parts;
}

static py::list split_by(const Tensor& x, const py::object& sizes, int64_t wanted_axis) {
  const std::vector<int64_t> extents = part_sizes(x, sizes, wanted_axis);
  const std::vector<Tensor> parts = [&] {
    const ReleaseGil release;
    return split(x, extents, wanted_axis);
  }();
  py::list copies;
  for (const Tensor& part : parts) copies.append(py::cast(IndexCopy(part)));
  return copies;
}

void bind_index_copy(py::module_& core) {
  py::class_<IndexCopy, Tensor> cls(core, "_IndexCopy");
  cls.def("__setitem__", &refuse_write, py::arg("key"), py::arg("value"));
  cls.attr("__name__") = "Tensor";
  cls.attr("__qualname__") = "Tensor";
  core.def("_index_copy", [](const Tensor& x) { return py::cast(IndexCopy(x)); }, py::arg("x"));
}

void bind_tensor_shape(py::class_<Tensor>& cls) {
  cls.def("reshape", &reshape_to,
          R"(The same elements in row-major order in another shape; memory is shared, not copied.

Args:
    shape: extents, one by one or as a tuple; one may be -1, which the size decides.

Returns:
    Tensor of that shape over this memory.

Raises:
    ValueError: the sizes differ, or more than one extent is -1.
    TypeError: an extent is no integer.

Example:
    >>> pf.arange(6).reshape(2, -1)
    tensor([[0, 1, 2],
            [3, 4, 5]], dtype=int64))")
      .def("transpose", &transpose_to, R"(A copy with the axes in another order.

Args:
    axes: for each axis of the result, the axis it comes from, one by one or as a tuple; all reversed if none is
        given.

Returns:
    Tensor of this dtype.

Raises:
    ValueError: the axes do not name each axis once.
    IndexError: an axis is not there.
    TypeError: an axis is no integer.

Example:
    >>> pf.tensor([[1, 2, 3], [4, 5, 6]]).transpose(1, 0)
    tensor([[1, 4],
            [2, 5],
            [3, 6]], dtype=int64))")
      .def_property_readonly(
          "T", [](const Tensor& x) { return transposed_copy(x, {}); },
          R"(A copy with the axes reversed.

Example:
    >>> pf.tensor([[1, 2, 3], [4, 5, 6]]).T
    tensor([[1, 4],
            [2, 5],
            [3, 6]], dtype=int64))")
      .def("__getitem__", &get_item, py::arg("key"))
      .def("__setitem__", &set_item, py::arg("key"), py::arg("value"));
}

void bind_shape(py::module_& ops) {
  ops.def(
      "reshape", [](const Tensor& x, const std::vector<int64_t>& shape) { return reshape(x, shape); }, py::arg("x"),
      py::arg("shape"),
      R"(The same elements in row-major order in another shape; memory is shared, not copied.

Args:
    x: (...), any dtype.
    shape: extents; one may be -1, which the size decides.

Returns:
    Tensor of that shape over x's memory: writing into one changes the other.

Raises:
    ValueError: the sizes differ, or more than one extent is -1.

Example:
    >>> pf.ops.reshape(pf.arange(6), (2, -1))
    tensor([[0, 1, 2],
            [3, 4, 5]], dtype=int64))");
  ops.def(
      "transpose", [](const Tensor& x, const std::vector<int64_t>& axes) { return transpose(x, axes); }, py::arg("x"),
      py::arg("axes") = std::vector<int64_t>{}, NoGil(),
      R"(A copy with the axes in another order.

Args:
    x: (...), any dtype.
    axes: for each axis of the result, the axis of x it comes from; all reversed if none is given.

Returns:
    Tensor of x's dtype.

Raises:
    ValueError: axes does not name each axis once.
    IndexError: an axis is not there.

Example:
    >>> pf.ops.transpose(pf.tensor([[1, 2, 3], [4, 5, 6]]))
    tensor([[1, 4],
            [2, 5],
            [3, 6]], dtype=int64)
    >>> pf.ops.transpose(pf.zeros(2, 3, 4), (0, 2, 1)).shape
    (2, 4, 3))");
  ops.def("concat", &concat, py::arg("xs"), py::arg("axis") = 0, NoGil(),
          R"(Tensors one after the other along an axis.

Args:
    xs: at least one tensor; all of one dtype, and of one shape but for the axis.
    axis: an int, negative ones count from the end.

Returns:
    Tensor of their dtype.

Raises:
    ValueError: there is no tensor, or the shapes do not fit.
    IndexError: the axis is not there.
    TypeError: the dtypes differ.

Example:
    >>> pf.ops.concat([pf.tensor([[1, 2]]), pf.tensor([[3, 4], [5, 6]])])
    tensor([[1, 2],
            [3, 4],
            [5, 6]], dtype=int64))");
  ops.def("stack", &stack, py::arg("xs"), py::arg("axis") = 0, NoGil(), R"(Tensors of one shape along a new axis.

Args:
    xs: at least one tensor; all of one shape and dtype.
    axis: where the new axis stands in the result, an int; negative ones count from the end.

Returns:
    Tensor of their dtype, with one axis more.

Raises:
    ValueError: there is no tensor, or the shapes differ.
    IndexError: the axis is not there.
    TypeError: the dtypes differ.

Example:
    >>> pf.ops.stack([pf.tensor([1, 2]), pf.tensor([3, 4])], axis=1)
    tensor([[1, 3],
            [2, 4]], dtype=int64))");
  ops.def("split", &split_by, py::arg("x"), py::arg("sizes"), py::arg("axis") = 0,
          R"(Parts of a tensor along an axis.

Args:
    x: (...), any dtype.
    sizes: the extent of each part, which add up to the axis; or one integer: parts of that size, the last maybe
        smaller.
    axis: an int, negative ones count from the end.

Returns:
    List of Tensors, copies, of x's dtype.

Raises:
    ValueError: the sizes do not add up, or one is negative.
    IndexError: the axis is not there.
    TypeError: sizes are no integers.

Example:
    >>> first, rest = pf.ops.split(pf.arange(5), [2, 3])
    >>> first, rest
    (tensor([0, 1], dtype=int64), tensor([2, 3, 4], dtype=int64)))");
  ops.def("pad", &pad_by, py::arg("x"), py::arg("widths"),
          R"(x with zeros around it.

Args:
    x: (...), any dtype.
    widths: a pair (before, after) for each axis, neither below 0.

Returns:
    Tensor of x's dtype.

Raises:
    ValueError: there is not one pair for each axis, or a width is negative.
    TypeError: widths are no pairs of integers.

Example:
    >>> pf.ops.pad(pf.tensor([[1, 2]]), [(0, 1), (1, 0)])
    tensor([[0, 1, 2],
            [0, 0, 0]], dtype=int64))");
  ops.def("gather", &gather, py::arg("x"), py::arg("index"), py::arg("axis"), NoGil(),
          R"(Picks elements along an axis by index: for axis 1 of two, out[i][j] = x[i][index[i][j]].

Args:
    x: (...), any dtype.
    index: integer, with as many axes as x; but for the axis no extent is above x's.
    axis: an int, negative ones count from the end.

Returns:
    Tensor of index's shape and x's dtype. Gradients of an element that was picked several times are added one after
    another, in float32 but for float64: there a sum of ones grows to 2^24 and no further. `pf.scatter_add` adds in
    float64.

Raises:
    ValueError: the shapes do not fit.
    IndexError: an index is out of range, or the axis is not there.
    TypeError: index is not of integers.

Example:
    >>> x = pf.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> pf.ops.gather(x, pf.tensor([[1], [0]]), axis=1)
    tensor([[2.],
            [3.]], dtype=float32)
    >>> pf.ops.gather(x, pf.tensor([[2], [0]]), axis=1)
    Traceback (most recent call last):
        ...
    IndexError: gather: index must be within [0, 2), got 2 at position 0)");
  ops.def("embedding", &embedding, py::arg("ids"), py::arg("weight"), NoGil(),
          R"(Rows of a table: out[i] = weight[ids[i]].

Args:
    ids: (...), integer.
    weight: (V, C), float; other dtypes have no gradient.

Returns:
    Tensor (..., C) of weight's dtype. Gradients of a row that was picked several times are added one after another, in
    float32 but for float64: there a sum of ones grows to 2^24 and no further.

Raises:
    IndexError: an id is outside 0 ... V - 1.
    ValueError: weight is not two-dimensional.
    TypeError: ids are not integers.

Example:
    >>> table = pf.tensor([[0.0, 1.0], [10.0, 11.0], [20.0, 21.0]])
    >>> pf.ops.embedding(pf.tensor([2, 0]), table)
    tensor([[20., 21.],
            [ 0.,  1.]], dtype=float32)
    >>> pf.ops.embedding(pf.tensor([3]), table)
    Traceback (most recent call last):
        ...
    IndexError: embedding: ids must be within [0, 3), got 3 at position 0)");
}

void bind_cache(py::module_& core) {
  core.def("cache_append_", &cache_append_, py::arg("cache"), py::arg("fresh"), py::arg("positions"), NoGil(),
           "Writes fresh (B, T, H, D) into cache (B, Tmax, H, D) at token positions[b] of each row b, in place.");
}

}  // namespace pyformer::bindings
