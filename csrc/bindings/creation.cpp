// New tensors: zeros, ones, full, arange.
#include <cmath>
#include <limits>

#include "bindings.h"
#include "pyformer/base/thread_pool.h"
#include "pyformer/ops/cast/cast.h"

namespace pyformer::bindings {

Shape shape_from(const char* op, const py::args& args) {
  if (args.size() == 1) refuse_lossy(op, args[0]);
  const bool nested = args.size() == 1 && (py::isinstance<py::tuple>(args[0]) || py::isinstance<py::list>(args[0]));
  Shape shape;
  for (const py::handle& dim : nested ? py::tuple(args[0]) : py::tuple(args)) {
    refuse_lossy(op, dim);
    const Py_ssize_t extent = PyNumber_AsSsize_t(dim.ptr(), PyExc_OverflowError);
    if (extent == -1 && PyErr_Occurred()) {
      const bool too_large = PyErr_ExceptionMatches(PyExc_OverflowError);
      PyErr_Clear();
      if (too_large && py::int_(0) < py::reinterpret_borrow<py::object>(dim))
        throw OutOfMemory(cat(op, ": dimension ", shown(dim)));
      if (too_large) throw ValueError(cat(op, ": dimensions must not be negative"));
      throw TypeError(cat(op, ": the shape must be integers, got ", shown(dim)));
    }
    if (extent < 0) throw ValueError(cat(op, ": dimensions must not be negative, got ", extent));
    shape.push_back(extent);
  }
  return shape;
}

static constexpr int64_t kRangeGrain = 1 << 18;

// A number that Python passed in; an integer is kept exactly. `dtype` is the dtype that a tensor of it gets by default:
// int64 for an integer, bool for a bool, the Tensor's dtype for a Tensor, float32 for anything else.
struct Number {
  bool whole = false;  // the number is in `integer`, not in `real`
  int64_t integer = 0;
  double real = 0;
  DType dtype = DType::int64;
  std::optional<double> odd = {};  // of an integer beyond int64: rounded_to_odd(), from which narrow floats are made
};

// Converts a Tensor or array without axes, or a NumPy bool, to the Python number in it; returns others unchanged.
static py::object plain_number(const char* op, const py::object& value) {
  const bool is_tensor = py::isinstance<Tensor>(value);
  if (is_tensor && value.cast<const Tensor&>().requires_grad())
    throw TypeError(
        cat(op, ": expected a number, got a tensor that requires a gradient, which would be lost: use its ", "item()"));
  refuse_lossy(op, value);
  const bool is_array = py::isinstance<py::array>(value) && value.cast<py::array>().ndim() == 0;
  const bool is_bool = !is_array && py::isinstance(value, py::module_::import("numpy").attr("bool_"));
  return is_tensor || is_array || is_bool ? call_method(value, "item") : value;
}

double rounded_to_odd(py::handle integer) {
  const py::int_ magnitude(integer.attr("__abs__")());
  const auto cut = magnitude.attr("bit_length")().cast<int64_t>() - std::numeric_limits<double>::digits;
  const py::int_ kept = magnitude >> py::int_(cut);
  const bool exact = (kept << py::int_(cut)).equal(magnitude);
  const double value = std::ldexp(double(kept.cast<int64_t>() | !exact), int(cut));
  return py::int_(0) < integer ? value : -value;
}

static Number number_from(const char* op, const py::object& given) {
  const py::object value = plain_number(op, given);
  Number number;
  const auto refuse = [&](const char* expected) {
    PyErr_Clear();
    throw TypeError(cat(op, ": expected ", expected, ", got ", shown(value)));
  };
  number.dtype = py::isinstance<Tensor>(given) ? given.cast<const Tensor&>().dtype()
                 : PyBool_Check(value.ptr())   ? DType::boolean
                 : PyIndex_Check(value.ptr())  ? DType::int64
                                               : DType::float32;
  number.real = PyFloat_AsDouble(value.ptr());
  const bool failed = number.real == -1 && PyErr_Occurred();
  if (failed && !PyErr_ExceptionMatches(PyExc_OverflowError)) refuse("a number");
  if (failed) PyErr_Clear();
  if (!PyIndex_Check(value.ptr())) return number;
  const py::object integer = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
  if (!integer) refuse("a number");
  int overflow = 0;
  number.integer = PyLong_AsLongLongAndOverflow(integer.ptr(), &overflow);
  number.whole = !overflow;
  if (failed) number.real = overflow * std::numeric_limits<double>::infinity();
  if (overflow && !failed) number.odd = rounded_to_odd(integer);
  return number;
}

static int64_t integer_for(const char* op, const Number& value, DType dtype) {
  const auto [least, beyond] = integer_range(dtype);
  const bool within = value.real >= least && value.real < beyond;
  const bool fits = value.whole ? dtype == DType::int64 || within : within && value.real == std::floor(value.real);
  if (!fits) throw ValueError(cat(op, ": ", value.real, " is not an integer that fits in ", name(dtype)));
  return value.whole ? value.integer : int64_t(value.real);
}

static Array full(const Shape& shape, const Number& number, DType dtype, Device device) {
  const uint64_t bits = is_integer(dtype)         ? bits_of(integer_for("full", number, dtype), dtype)
                        : number.whole            ? bits_of(number.integer, dtype)
                        : dtype == DType::float64 ? bits_of(number.real, dtype)
                                                  : bits_of(number.odd.value_or(number.real), dtype);
  const Array array = Array::empty(shape, dtype, device);
  fill_(array, bits);
  return array;
}

static DType dtype_or(const py::object& dtype, DType otherwise) {
  return dtype.is_none() ? otherwise : dtype_from(dtype);
}

static Tensor made(const py::object& device, const Shape& shape, const Number& value, DType dtype, bool requires_grad) {
  const Device place = device_or_default(name_of_device(device));
  ReleaseGil release;
  const bool zero = value.real == 0 && !std::signbit(value.real);
  return Tensor(zero ? Array::zeros(shape, dtype, place) : full(shape, value, dtype, place), requires_grad);
}

// Computes in uint64, which holds the difference of any two int64; the values wrap modulo 2^64 to the right int64.
static Array whole_range(int64_t start, int64_t stop, int64_t step) {
  const uint64_t span = step > 0 ? uint64_t(stop) - uint64_t(start) : uint64_t(start) - uint64_t(stop);
  const uint64_t stride = step > 0 ? uint64_t(step) : 0 - uint64_t(step);
  const bool empty = step > 0 ? stop <= start : stop >= start;
  const uint64_t count = empty ? 0 : (span - 1) / stride + 1;
  if (count > uint64_t(1) << 53) throw OutOfMemory(cat("arange: ", count, " elements"));
  const Array values = Array::empty({int64_t(count)}, DType::int64, kCpu);
  int64_t* const data = values.data<int64_t>();
  parallel_for(values.size(), kRangeGrain, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) data[i] = int64_t(uint64_t(start) + uint64_t(i) * uint64_t(step));
  });
  return values;
}

static Array real_range(double start, double stop, double step) {
  double count = 0;
  in_default_float_mode([&] { count = std::max(0.0, std::ceil((stop - start) / step)); });
  if (count > 0x1p53) throw OutOfMemory(cat("arange: ", count, " elements"));
  const Array values = Array::empty({int64_t(count)}, DType::float64, kCpu);
  double* const data = values.data<double>();
  parallel_for(values.size(), kRangeGrain, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) data[i] = start + double(i) * step;
  });
  return values;
}

static Tensor arange(const py::object& start, const py::object& stop, const py::object& step, const py::object& dtype,
                     const py::object& device, bool requires_grad) {
  refuse_to_record("a tensor is made of numbers of Python");
  const Device place = device_or_default(name_of_device(device));
  const Number first = stop.is_none() ? Number{true, 0, 0} : number_from("arange", start);
  const Number last = number_from("arange", stop.is_none() ? start : stop), stride = number_from("arange", step);
  if (stride.real == 0 || !std::isfinite(stride.real) || !std::isfinite(first.real) || !std::isfinite(last.real))
    throw ValueError(cat("arange: start, stop and step must be finite and step not 0, got ", first.real, ", ",
                         last.real, ", ", stride.real));
  const bool floats = is_float(first.dtype) || is_float(last.dtype) || is_float(stride.dtype);
  const DType type = dtype_or(dtype, floats ? DType::float32 : DType::int64);
  ReleaseGil release;
  const bool exact = first.whole && last.whole && stride.whole;
  const Array values =
      exact ? whole_range(first.integer, last.integer, stride.integer) : real_range(first.real, last.real, stride.real);
  if (is_integer(type)) {
    const int64_t end = values.size() - 1;
    integer_for("arange", exact ? first : Number{false, 0, std::trunc(first.real)}, type);
    if (end > 0 && exact) integer_for("arange", {true, values.data<int64_t>()[end], last.real}, type);
    if (end > 0 && !exact) integer_for("arange", {false, 0, std::trunc(values.data<double>()[end])}, type);
  }
  return Tensor(cast(values, type).to(place), requires_grad);
}

void bind_creation(py::module_& core) {
  const auto dtype = py::arg("dtype") = py::none();
  const auto device = py::arg("device") = py::none();
  const auto requires_grad = py::arg("requires_grad") = false;
  core.def(
      "zeros",
      [](const py::args& shape, const py::object& dtype, const py::object& device, bool grad) {
        return made(device, shape_from("zeros", shape), {true, 0, 0}, dtype_or(dtype, DType::float32), grad);
      },
      py::kw_only(), dtype, device, requires_grad,
      R"(A tensor of zeros.

Args:
    shape: extents, one by one or as a tuple.
    dtype: float32 by default.
    device: "cpu" by default.
    requires_grad: whether gradients are formed for it.

Returns:
    Tensor of that shape and dtype.

Raises:
    ValueError: an extent is negative, or the device is not there.
    TypeError: an extent is no integer, or dtype no dtype.
    MemoryError: the machine has not so much memory.

Example:
    >>> pf.zeros(2, 3)
    tensor([[0., 0., 0.],
            [0., 0., 0.]], dtype=float32))");
  core.def(
      "ones",
      [](const py::args& shape, const py::object& dtype, const py::object& device, bool grad) {
        return made(device, shape_from("ones", shape), {true, 1, 1}, dtype_or(dtype, DType::float32), grad);
      },
      py::kw_only(), dtype, device, requires_grad, R"(A tensor of ones.

Args:
    shape: extents, one by one or as a tuple.
    dtype: float32 by default.
    device: "cpu" by default.
    requires_grad: whether gradients are formed for it.

Returns:
    Tensor of that shape and dtype.

Raises:
    ValueError: an extent is negative, or the device is not there.
    TypeError: an extent is no integer, or dtype no dtype.
    MemoryError: the machine has not so much memory.

Example:
    >>> pf.ones((2,), dtype=pf.int64)
    tensor([1, 1], dtype=int64))");
  core.def(
      "full",
      [](const py::object& shape, const py::object& value, const py::object& dtype, const py::object& device,
         bool grad) {
        const Number number = number_from("full", value);
        return made(device, shape_from("full", py::args(py::make_tuple(shape))), number, dtype_or(dtype, number.dtype),
                    grad);
      },
      py::arg("shape"), py::arg("value"), py::kw_only(), dtype, device, requires_grad,
      R"(A tensor whose elements are all one value.

Args:
    shape: extents as a tuple, or one integer.
    value: a number; integers stay exact.
    dtype: by default that of the value, as in NumPy: int64 of an integer, bool of a bool, float32 of a float.
    device: "cpu" by default.
    requires_grad: whether gradients are formed for it.

Returns:
    Tensor of that shape and dtype.

Raises:
    ValueError: an extent is negative, the value does not fit in the dtype, or the device is not there.
    TypeError: the value is no number, or dtype no dtype.
    MemoryError: the machine has not so much memory.

Example:
    >>> pf.full((2, 2), 0.5)
    tensor([[0.5, 0.5],
            [0.5, 0.5]], dtype=float32))");
  core.def("arange", &arange, py::arg("start"), py::arg("stop") = py::none(), py::arg("step") = 1, py::kw_only(), dtype,
           device, requires_grad,
           R"(start, start + step, start + 2 step, ... up to but without stop; `arange(stop)` starts at 0.

Args:
    start, stop, step: finite numbers, step not 0.
    dtype: by default int64 where all three are integers, float32 where one is a float, whole or not, as in NumPy.
    device: "cpu" by default.
    requires_grad: whether gradients are formed for it.

Returns:
    Tensor (n,), n = ceil((stop - start) / step), or 0 where that is negative.

Raises:
    ValueError: a number is not finite, step is 0, or a value does not fit in the dtype.
    TypeError: something is no number, or dtype no dtype.
    MemoryError: the machine has not so much memory.

Example:
    >>> pf.arange(3), pf.arange(3.0)
    (tensor([0, 1, 2], dtype=int64), tensor([0., 1., 2.], dtype=float32))
    >>> pf.arange(0, 1, 0.25)
    tensor([0.  , 0.25, 0.5 , 0.75], dtype=float32))");
}

}  // namespace pyformer::bindings
