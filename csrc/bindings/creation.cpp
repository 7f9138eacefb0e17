// New tensors: zeros, ones, full, arange.
#include <cmath>

#include "bindings.h"

namespace pyformer::bindings {

Shape shape_from(const char* op, const py::args& args) {
  const bool nested = args.size() == 1 && (py::isinstance<py::tuple>(args[0]) || py::isinstance<py::list>(args[0]));
  Shape shape;
  for (const py::handle& dim : nested ? py::tuple(args[0]) : py::tuple(args)) {
    const Py_ssize_t extent = PyNumber_AsSsize_t(dim.ptr(), PyExc_OverflowError);
    if (extent == -1 && PyErr_Occurred()) {
      PyErr_Clear();
      throw TypeError(cat(op, ": the shape must be integers, got ", py::repr(dim).cast<std::string>()));
    }
    if (extent < 0) throw ValueError(cat(op, ": dimensions must not be negative, got ", extent));
    shape.push_back(extent);
  }
  return shape;
}

template <class T>
static Array filled(const Shape& shape, T value) {
  Array a = Array::empty(shape, DTypeOf<T>::value);
  std::fill_n(a.data<T>(), a.size(), value);
  return a;
}

static Array full(const Shape& shape, double value, DType dtype) {
  switch (dtype) {
    case DType::float32:
      return filled(shape, float(value));
    case DType::float64:
      return filled(shape, value);
    case DType::bfloat16:
      return filled(shape, to_bfloat16(float(value)));
    case DType::float16:
      return filled(shape, to_float16(float(value)));
    case DType::int64:
      return filled(shape, int64_t(value));
    case DType::int32:
      return filled(shape, int32_t(value));
    case DType::boolean:
      return filled(shape, value != 0);
  }
  throw std::logic_error("full: unknown dtype");
}

static DType dtype_or(const py::object& dtype, DType otherwise) {
  return dtype.is_none() ? otherwise : dtype_from(dtype);
}

static Tensor made(const std::string& device, Array array, bool requires_grad) {
  device_from_name(device);
  return Tensor(std::move(array), requires_grad);
}

static Tensor arange(double start, const py::object& stop, double step, const py::object& dtype) {
  const double first = stop.is_none() ? 0.0 : start, last = stop.is_none() ? start : stop.cast<double>();
  if (step == 0 || !std::isfinite(step) || !std::isfinite(first) || !std::isfinite(last))
    throw ValueError(
        cat("arange: start, stop and step must be finite and step not 0, got ", first, ", ", last, ", ", step));
  const double count = std::max(0.0, std::ceil((last - first) / step));
  if (count > 0x1p53) throw OutOfMemory(cat("arange: ", count, " elements"));
  const Array values = Array::empty({int64_t(count)}, DType::float64);
  for (int64_t i = 0; i < values.size(); ++i) values.data<double>()[i] = first + double(i) * step;
  const bool whole = first == std::floor(first) && step == std::floor(step);
  return tensor_from(py::cast(Tensor(values)), py::cast(dtype_or(dtype, whole ? DType::int64 : DType::float32)), "cpu",
                     false);
}

void bind_creation(py::module_& core) {
  const auto dtype = py::arg("dtype") = py::none();
  const auto device = py::arg("device") = "cpu";
  const auto requires_grad = py::arg("requires_grad") = false;
  core.def(
      "zeros",
      [](const py::args& shape, const py::object& dtype, const std::string& device, bool grad) {
        return made(device, Array::zeros(shape_from("zeros", shape), dtype_or(dtype, DType::float32)), grad);
      },
      py::kw_only(), dtype, device, requires_grad,
      "A tensor of zeros: zeros(2, 3) or zeros((2, 3)); float32 by default.");
  core.def(
      "ones",
      [](const py::args& shape, const py::object& dtype, const std::string& device, bool grad) {
        return made(device, full(shape_from("ones", shape), 1, dtype_or(dtype, DType::float32)), grad);
      },
      py::kw_only(), dtype, device, requires_grad, "A tensor of ones; float32 by default.");
  core.def(
      "full",
      [](const py::object& shape, double value, const py::object& dtype, const std::string& device, bool grad) {
        const py::args extents(py::isinstance<py::int_>(shape) ? py::make_tuple(shape) : py::tuple(shape));
        return made(device, full(shape_from("full", extents), value, dtype_or(dtype, DType::float32)), grad);
      },
      py::arg("shape"), py::arg("value"), py::kw_only(), dtype, device, requires_grad,
      "A tensor of one value; float32 by default.");
  core.def("arange", &arange, py::arg("start"), py::arg("stop") = py::none(), py::arg("step") = 1.0, dtype,
           "start, start + step, ... up to but without stop; int64 where start and step are whole, else float32.");
}

}  // namespace pyformer::bindings
