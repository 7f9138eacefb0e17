// The Tensor class and the dtypes.
#include "bindings.h"
#include "pyformer/ops/cast/cast.h"
#include "pyformer/ops/to/to.h"

namespace pyformer::bindings {

static DType dtype_numbered(const py::int_& value) {
  int overflow = 0;
  const long number = PyLong_AsLongAndOverflow(value.ptr(), &overflow);
  if (overflow || number < 0 || number >= kDTypeCount)
    throw ValueError(cat("DType: expected 0 to ", kDTypeCount - 1, ", got ", py::str(value).cast<std::string>()));
  return DType(number);
}

void bind_dtypes(py::module_& core) {
  py::enum_<DType> cls(core, "DType", "The element type of a tensor.");
  cls.value("float32", DType::float32)
      .value("float64", DType::float64)
      .value("bfloat16", DType::bfloat16)
      .value("float16", DType::float16)
      .value("int64", DType::int64)
      .value("int32", DType::int32)
      .value("bool", DType::boolean)
      .value("int8", DType::int8)
      .value("uint8", DType::uint8)
      .def_property_readonly("itemsize", &item_bytes, "Bytes an element.")
      .def(
          "__repr__", [](DType d) { return cat("pyformer.", name(d)); }, py::prepend())
      .def(py::init([](const py::int_& value) { return dtype_numbered(value); }), py::prepend(), py::arg("value"))
      .def("__reduce__", [](const py::object& self) {
        return py::make_tuple(py::type::of(self), py::make_tuple(self.attr("value")));
      });
  reinterpret_cast<PyTypeObject*>(cls.ptr())->tp_new = &new_for_call;
}

static py::tuple shape_tuple(const Tensor& t) {
  py::tuple shape(t.ndim());
  for (int i = 0; i < t.ndim(); ++i) shape[size_t(i)] = t.dim(i);
  return shape;
}

static Array on_cpu(const Array& array) {
  const ReleaseGil release;
  return to(array, kCpu);
}

static py::object item(const Tensor& t) {
  if (t.array().size() != 1)
    throw ValueError(cat("item: expected a tensor of one element, got shape ", t.shape().str()));
  const Array array = on_cpu(t.array());
  switch (t.dtype()) {
    case DType::float32:
      return py::float_(*array.data<float>());
    case DType::float64:
      return py::float_(*array.data<double>());
    case DType::bfloat16:
      return py::float_(to_float(*array.data<BFloat16>()));
    case DType::float16:
      return py::float_(to_float(*array.data<Float16>()));
    case DType::int64:
      return py::int_(*array.data<int64_t>());
    case DType::int32:
      return py::int_(*array.data<int32_t>());
    case DType::boolean:
      return py::bool_(*array.data<bool>());
    case DType::int8:
      return py::int_(*array.data<int8_t>());
    case DType::uint8:
      return py::int_(*array.data<uint8_t>());
  }
  throw std::logic_error("item: unknown dtype");
}

static py::object whole_number(const py::object& number) {
  PyObject* whole = PyNumber_Long(number.ptr());
  if (!whole) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(whole);
}

static std::string repr(const Tensor& t) {
  const std::string device = t.device().is_cpu() ? "" : cat(", device='", name(t.device()), "'");
  std::string tail = cat(", dtype=", name(t.dtype()), device, t.requires_grad() ? ", requires_grad=True)" : ")");
  if (t.dtype() == DType::bfloat16 || t.array().size() == 0) return cat("tensor(shape=", t.shape().str(), tail);
  const py::dict layout(py::arg("separator") = ", ", py::arg("prefix") = "tensor(", py::arg("threshold") = 200);
  const py::object array2string = py::module_::import("numpy").attr("array2string");
  const py::object text = call_or_park(array2string, py::make_tuple(numpy_of(on_cpu(t.array()))), layout);
  return cat("tensor(", text.cast<std::string>(), tail);
}

// One element is formatted as a number.
static py::object formatted(const Tensor& t, const py::str& spec) {
  const bool is_number = t.array().size() == 1 && py::len(spec) > 0;
  const py::object shown = is_number ? item(t) : py::object(py::str(repr(t)));
  return shown.attr("__format__")(spec);
}

// A dtype, or else the name of a device.
static Tensor converted(const Tensor& t, const py::object& wanted) {
  const bool is_text = py::isinstance<py::str>(wanted);
  const std::string text = is_text || py::isinstance<Device>(wanted) ? *name_of_device(wanted) : "";
  if (!text.empty() && !(is_text && is_dtype_name(text))) {
    const ReleaseGil release;
    return to(t, device_from_name(text));
  }
  const DType dtype = dtype_from(wanted);
  ReleaseGil release;
  return cast(t, dtype);
}

// pybind11 makes its own instances without tp_new; one from Python's Tensor.__new__ would hold no tensor.
static PyObject* refuse_new(PyTypeObject*, PyObject*, PyObject*) {
  PyErr_SetString(PyExc_TypeError, "Tensor: cannot be made directly; use pyformer.tensor(data)");
  return nullptr;
}

static py::object iterator(const py::object& self) {
  if (self.cast<const Tensor&>().ndim() == 0) throw TypeError("iteration over a tensor without dimensions");
  PyObject* made = PySeqIter_New(self.ptr());
  if (!made) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(made);
}

void bind_tensor(py::module_& core) {
  py::class_<Tensor> cls(core, "Tensor", py::buffer_protocol(),
                         R"(An n-dimensional array that remembers how it was made.

Made by pf.tensor, pf.asarray, pf.zeros, ... and by operations; row-major and contiguous always.)");
  cls.def_property_readonly("shape", &shape_tuple)
      .def_property_readonly("dtype", &Tensor::dtype)
      .def_property_readonly("device", &Tensor::device)
      .def_property_readonly("ndim", &Tensor::ndim)
      .def_property_readonly("size", [](const Tensor& t) { return t.array().size(); })
      .def_property(
          "requires_grad", &Tensor::requires_grad,
          [](Tensor& t, const py::object& on) { t.set_requires_grad(argument<bool>("requires_grad", "a bool", on)); })
      .def_property_readonly("is_leaf", &Tensor::is_leaf)
      .def_property(
          "grad",
          [](const Tensor& t) -> py::object {
            const Array grad = [&] {
              const ReleaseGil release;  // whoever holds the gradients' mutex may be long at work
              return t.grad();
            }();
            return grad.defined() ? py::cast(Tensor(grad)) : py::none();
          },
          [](Tensor& t, const py::object& value) {
            const Array grad = or_absent(argument<std::optional<Tensor>>("grad", "a Tensor or None", value)).array();
            const ReleaseGil release;
            t.set_grad(grad);
          })
      .def(
          "numpy", [](const Tensor& t) { return numpy_of(t.array()); },
          R"(A NumPy array that shares this tensor's memory. TypeError for bfloat16.

Writes through it are not seen by the check that what backward needs is unchanged: gradients would be wrong.)")
      .def(
          "__array__",
          [](const Tensor& t, const py::object& dtype, const py::object& copy) {
            py::object array = numpy_of(t.array());
            const bool copied = !copy.is_none() && argument<bool>("__array__", "copy to be None or a bool", copy);
            const py::dict keep(py::arg("copy") = false);
            const py::object own = array;
            if (!dtype.is_none()) array = call_or_park(array.attr("astype"), py::make_tuple(dtype), keep);
            if (!copy.is_none() && !copied && !array.is(own))
              throw ValueError("__array__: this dtype needs a copy, and copy=False refuses one");
            return copied ? call_method(array, "copy") : array;
          },
          py::arg("dtype") = py::none(), py::arg("copy") = py::none())
      .def(
          "__dlpack__",
          [](const Tensor& t, const py::object&, const py::object& max_version, const py::object& dl_device,
             const py::object& copy) {
            using Place = std::pair<int, int>;
            if (!dl_device.is_none() &&
                argument<Place>("__dlpack__", "dl_device to be two integers", dl_device).first != 1)
              throw py::buffer_error("__dlpack__: this tensor is in CPU memory, which is device type 1");
            if (!t.device().is_cpu())
              throw py::buffer_error(
                  cat("__dlpack__: the tensor is on ", name(t.device()), "; use .to(\"cpu\") first"));
            if (t.requires_grad()) throw TypeError("__dlpack__: a tensor that requires grad; use detach() first");
            return dlpack_of(t.array(), max_version, copy);
          },
          py::kw_only(), py::arg("stream") = py::none(), py::arg("max_version") = py::none(),
          py::arg("dl_device") = py::none(), py::arg("copy") = py::none(),
          "A DLPack capsule over this tensor's memory. Writes through it are not seen by backward, as with numpy().")
      .def_buffer([](const Tensor& t) {
        const py::array array = numpy_of(t.array());
        return array.request();
      })
      .def("__dlpack_device__", [](const Tensor&) { return py::make_tuple(1, 0); })
      .def("item", &item, "The only element as a Python number. ValueError unless there is exactly one.")
      .def("to", &converted, py::arg("dtype_or_device"),
           "This tensor in another dtype or on another device; itself if it is so already.")
      .def("detach", &Tensor::detach, "The same memory without history.")
      .def(
          "backward", [](const Tensor& t, const std::optional<Tensor>& grad) { backward(t, or_absent(grad).array()); },
          py::arg("grad") = py::none(), NoGil(),
          "Adds the gradient of this tensor to .grad of every leaf it was made from; grad (of this tensor's shape) "
          "defaults to 1 for one element. RuntimeError if the graph was already used.")
      .def("__len__",
           [](const Tensor& t) {
             if (t.ndim() == 0) throw TypeError("len() of a tensor without dimensions");
             return t.dim(0);
           })
      .def("__iter__", &iterator)
      .def("__bool__", [](const Tensor& t) { return py::bool_(item(t)).cast<bool>(); })
      .def("__float__", [](const Tensor& t) { return py::float_(item(t)); })
      .def("__int__", [](const Tensor& t) { return whole_number(item(t)); })
      .def("__format__", &formatted, py::arg("spec"))
      .def("__repr__", &repr);

  bind_tensor_matmul(cls);
  bind_tensor_operators(cls);
  bind_tensor_reductions(cls);
  bind_tensor_shape(cls);
  reinterpret_cast<PyTypeObject*>(cls.ptr())->tp_new = &refuse_new;

  core.def("tensor", &tensor_from, py::arg("data"), py::arg("dtype") = py::none(), py::arg("device") = py::none(),
           py::arg("requires_grad") = false, R"(A new tensor that copies data.

data: a number, (nested) list, NumPy array, or anything with __dlpack__, __array__ or the buffer protocol.
Python floats become float32, integers int64; arrays keep their dtype. Tensors in a list must have one dtype, else
TypeError; floats beside them take it, or float32 beside integers. TypeError for dtypes that have no counterpart.)");
  core.def("asarray", &tensor_sharing, py::arg("data"),
           "A tensor that shares data's memory where its layout allows (contiguous, native, writable), else a copy.");
  core.def(
      "from_dlpack", [](const py::object& data) { return Tensor(array_from_dlpack(data)); }, py::arg("data"),
      "A tensor over the memory of anything with __dlpack__ in CPU memory; a copy if it isn't contiguous or writable.");
}

}  // namespace pyformer::bindings
