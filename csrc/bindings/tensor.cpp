// The Tensor class and the dtypes.
#include "bindings.h"
#include "pyformer/base/float_mode.h"
#include "pyformer/base/thread_pool.h"
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
  py::enum_<DType> cls(core, "DType", R"(The element type of a tensor.

`pf.float32`, `pf.float64`, `pf.bfloat16`, `pf.float16`, `pf.int64`, `pf.int32`, `pf.int8`, `pf.uint8` and `pf.bool`
are its values.

Wherever a dtype is asked for, one of these, a NumPy dtype or a name such as "float32" will do.

Raises:
    ValueError: DType(number) with a number that stands for none.

Example:
    >>> pf.float32, pf.float32.name, pf.float32.itemsize
    (pyformer.float32, 'float32', 4)
    >>> pf.zeros(2, dtype="float64").dtype == pf.float64
    True)");
  cls.value("float32", DType::float32)
      .value("float64", DType::float64)
      .value("bfloat16", DType::bfloat16)
      .value("float16", DType::float16)
      .value("int64", DType::int64)
      .value("int32", DType::int32)
      .value("bool", DType::boolean)
      .value("int8", DType::int8)
      .value("uint8", DType::uint8)
      .def_property_readonly("itemsize", &item_bytes, R"(Bytes an element.)")
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

Array on_cpu(const Array& array) {
  refuse_to_record("numbers of an array are read");
  const ReleaseGil release;
  return to(array, kCpu);
}

// A float as Python's: a process that flushes denormals would make 0 of small ones on the way.
template <class T>
static py::object float_of(const Array& array) {
  double value = 0.0;
  in_default_float_mode([&] {
    const T x = *array.data<T>();
    if constexpr (std::is_same_v<T, float>)
      value = x;
    else
      value = to_float(x);
  });
  return py::float_(value);
}

static py::object item(const Tensor& t) {
  if (t.array().size() != 1)
    throw ValueError(cat("item: expected a tensor of one element, got shape ", t.shape().str()));
  const Array array = on_cpu(t.array());
  switch (t.dtype()) {
    case DType::float32:
      return float_of<float>(array);
    case DType::float64:
      return py::float_(*array.data<double>());
    case DType::bfloat16:
      return float_of<BFloat16>(array);
    case DType::float16:
      return float_of<Float16>(array);
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

// A NumPy array of the values of a tensor on any device and of any dtype.
static py::array readable(const Tensor& t) {
  const Array here = on_cpu(t.array());
  return numpy_of(here.dtype() == DType::bfloat16 ? cast(here, DType::float32) : here);
}

static std::string repr(const Tensor& t) {
  const std::string device = t.device().is_cpu() ? "" : cat(", device='", name(t.device()), "'");
  std::string tail = cat(", dtype=", name(t.dtype()), device, t.requires_grad() ? ", requires_grad=True)" : ")");
  if (t.array().size() == 0) return cat("tensor(shape=", t.shape().str(), tail);
  const py::dict layout(py::arg("separator") = ", ", py::arg("prefix") = "tensor(", py::arg("threshold") = 200);
  const py::object array2string = py::module_::import("numpy").attr("array2string");
  const DefaultFloatMode mode;
  const py::object text = call_or_park(array2string, py::make_tuple(readable(t)), layout);
  return cat("tensor(", text.cast<std::string>(), tail);
}

// f"{t:spec}": a tensor of one element is formatted as a number, any other as its repr.
static py::object formatted(const Tensor& t, const py::str& spec) {
  const bool is_number = t.array().size() == 1 && py::len(spec) > 0;
  const py::object shown = is_number ? item(t) : py::object(py::str(repr(t)));
  return shown.attr("__format__")(spec);
}

// t.to(wanted): wanted is a dtype, a device, or the name of either.
static Tensor converted(const Tensor& t, const py::object& wanted) {
  const bool is_text = py::isinstance<py::str>(wanted);
  const std::string text = is_text || py::isinstance<Device>(wanted) ? *name_of_device(wanted) : "";
  // is_dtype_name asks NumPy about names that pyformer does not know, which is slow.
  if (!text.empty() && (text == name(kCpu) || !(is_text && is_dtype_name(text)))) {
    const ReleaseGil release;
    return to(t, device_from_name(text));
  }
  const DType dtype = dtype_from(wanted);
  ReleaseGil release;
  return cast(t, dtype);
}

// t.to(...) as torch has it: a dtype, a device or both, in either place, or a tensor that has them.
static Tensor converted_to(const Tensor& t, const py::object& first, const py::object& dtype, const py::object& device,
                           bool) {
  if (py::isinstance<Tensor>(first)) {
    if (!dtype.is_none() || !device.is_none())
      throw TypeError("to: expected no dtype or device beside a tensor that has them");
    const Tensor& like = first.cast<const Tensor&>();
    return converted(converted(t, py::cast(like.dtype())), py::cast(like.device()));
  }
  if (first.is_none() && dtype.is_none() && device.is_none())
    throw TypeError("to: expected a dtype, a device or a tensor that has them");
  Tensor result = t;
  for (const py::object& wanted : {first, dtype, device})
    if (!wanted.is_none()) result = converted(result, wanted);
  return result;
}

// The tp_new of Tensor. pybind11 creates instances without it; Tensor.__new__ from Python would create one that holds
// no tensor.
static PyObject* refuse_new(PyTypeObject*, PyObject*, PyObject*) {
  PyErr_SetString(PyExc_TypeError, "Tensor: cannot be made directly; use pyformer.tensor(data)");
  return nullptr;
}

// __array_wrap__: what NumPy returns for the `result` of a function of tensors and other arrays. `more` holds NumPy's
// context (the function, its arguments) and whether a scalar is wanted; the arguments are checked here, as NumPy does
// not ask earlier. When this raises TypeError NumPy calls it again without context, and the error is raised again.
static py::object wrapped(const py::object& result, const py::args& more) {
  static thread_local std::string refused;
  if (more.empty() && !refused.empty()) throw TypeError(std::exchange(refused, {}));
  refused.clear();
  if (!more.empty() && !more[0].is_none()) {
    const py::tuple made = more[0];
    try {
      refuse_lossy(py::str(made[0].attr("__name__")).cast<std::string>().c_str(), made[1]);
    } catch (const TypeError& error) {
      refused = error.what();
      throw;
    }
  }
  const bool is_number = more.size() > 1 && more[1].cast<bool>();
  return is_number ? py::object(result[py::tuple()]) : result;
}

// DLPack's name of a device.
static std::pair<int, int> dlpack_place(const char* op, Device device) {
  const int type = device_api(device).dlpack_type;
  if (type == 0) throw py::buffer_error(cat(op, ": the tensor is on ", name(device), "; use .to(\"cpu\") first"));
  return {type, device.index};
}

static Tensor moved(const Tensor& t, const py::object& device) {
  if (device.is_none()) return t;
  const Device place = device_or_default(name_of_device(device));
  const ReleaseGil release;
  return to(t, place);
}

static py::object iterator(const py::object& self) {
  if (self.cast<const Tensor&>().ndim() == 0) throw TypeError("iteration over a tensor without dimensions");
  PyObject* made = PySeqIter_New(self.ptr());
  if (!made) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(made);
}

void bind_tensor(py::module_& core) {
  py::class_<Tensor> cls(
      core, "Tensor", py::buffer_protocol(),
      R"(An n-dimensional array that remembers how it was made, so that `backward` can form gradients.

It is made by `pf.tensor`, `pf.asarray`, `pf.zeros`, ... and by operations. Its elements lie in row-major order
without gaps. `reshape` and `detach` share memory; `x[i]`, slices and `transpose` copy, unlike NumPy's, and a write into
such a copy is a RuntimeError: `x[0, 1] = v` writes into x, `x[0].clone()` is a copy to write to.

Operators: + - * / // % ** @, unary -, comparisons (which give bool tensors), & | ~ of bools; broadcasting as NumPy's. A
Python number takes the tensor's dtype, and two float tensors must have the same; see `pf.ops.add`. `x[key]` takes
integers, slices, `...`, None, and integer or bool arrays; `x[key] = value`, `x += y` and the like write in place.

Raises:
    TypeError: `pf.Tensor(...)` is called, or two dtypes meet.
    ValueError: two shapes do not broadcast.
    IndexError: an index is out of range.
    RuntimeError: a write in place to a tensor whose gradient is recorded.

Example:
    >>> x = pf.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    >>> y = (x * x).sum()
    >>> y.backward()
    >>> y.item(), x.grad
    (30.0, tensor([[2., 4.],
            [6., 8.]], dtype=float32))
    >>> x[1, 0].item(), (x > 1.5).numpy().tolist()
    (3.0, [[False, True], [True, True]]))");
  cls.def_property_readonly("shape", &shape_tuple, R"(The extent of each axis, a tuple of ints.

Example:
    >>> pf.zeros(2, 3).shape
    (2, 3))")
      .def_property_readonly("dtype", &Tensor::dtype, R"(The element type, a `pf.DType`.

Example:
    >>> pf.tensor([1, 2]).dtype
    pyformer.int64)")
      .def_property_readonly("device", &Tensor::device, R"(Where the elements lie, a `pf.device`, equal to its name.

Example:
    >>> pf.zeros(2).device
    pyformer.device('cpu'))")
      .def_property_readonly("ndim", &Tensor::ndim, R"(The number of axes.

Example:
    >>> pf.zeros(2, 3).ndim
    2)")
      .def_property_readonly(
          "size", [](const Tensor& t) { return t.array().size(); },
          R"(The number of elements: a number, not a method as in torch.

Example:
    >>> pf.zeros(2, 3).size
    6)")
      .def_property(
          "requires_grad", &Tensor::requires_grad,
          [](Tensor& t, const py::object& on) { t.set_requires_grad(argument<bool>("requires_grad", "a bool", on)); },
          R"(Whether gradients are formed for this tensor. It can be set on a float leaf.

Raises:
    TypeError: it is set to True on a tensor that is not float.
    RuntimeError: it is set to False on a tensor that an operation made.

Example:
    >>> x = pf.zeros(2)
    >>> x.requires_grad = True
    >>> (x * 2.0).requires_grad
    True)")
      .def_property_readonly("is_leaf", &Tensor::is_leaf,
                             R"(Whether no recorded operation made this tensor. Only leaves get a `grad`.

Example:
    >>> x = pf.zeros(2, requires_grad=True)
    >>> x.is_leaf, (x * 2.0).is_leaf
    (True, False))")
      .def_property(
          "grad",
          [](const Tensor& t) -> py::object {
            const Array grad = [&] {
              const ReleaseGil release;  // the mutex of the gradients may be held for long
              return t.grad();
            }();
            return grad.defined() ? py::cast(Tensor(grad)) : py::none();
          },
          [](Tensor& t, const py::object& value) {
            const Array grad = or_absent(argument<std::optional<Tensor>>("grad", "a Tensor or None", value)).array();
            const ReleaseGil release;
            t.set_grad(grad);
          },
          R"(The gradient that backward passes have added up here, a Tensor of this shape, or None. It can be set.

The gradient of a bfloat16 or float16 leaf is float32.

Raises:
    TypeError: it is set to something else than a Tensor or None, or to another dtype.
    ValueError: it is set to a tensor of another shape.

Example:
    >>> x = pf.tensor([1.0, 2.0], requires_grad=True)
    >>> x.square().sum().backward()
    >>> x.grad
    tensor([2., 4.], dtype=float32)
    >>> x.grad = None)")
      .def(
          "numpy", [](const Tensor& t) { return numpy_of(t.array()); },
          R"(A NumPy array over this tensor's memory: writing into one changes the other.

Writes through it are not seen by the check that what backward needs is unchanged: gradients would then be wrong. It
is the way to say that a gradient may end here: `np.exp(x)` or `np.asarray(x)` of a tensor that requires a gradient is a
TypeError, since that part of the gradient would be gone without a word. `pf.ops` has the functions that keep it.

Returns:
    NumPy array of this shape and dtype, without a gradient.

Raises:
    TypeError: the tensor is bfloat16, which NumPy does not have; use `.to(pf.float32)` first.

Example:
    >>> x = pf.zeros(2)
    >>> x.numpy()[0] = 7.0
    >>> x
    tensor([7., 0.], dtype=float32))")
      .def(
          "__array__",
          [](const Tensor& t, const py::object& dtype, const py::object& copy) {
            refuse_gradient("__array__", t);
            const DefaultFloatMode mode;
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
          "__array_wrap__",
          [](const py::object&, const py::object& result, const py::args& more) { return wrapped(result, more); },
          py::arg("result"))
      .def(
          "__dlpack__",
          [](const Tensor& t, const py::object& stream, const py::object& max_version, const py::object& dl_device,
             const py::object& copy) {
            using Place = std::pair<int, int>;
            const Device d = t.device();
            const Place place = dlpack_place("__dlpack__", d);
            if (!dl_device.is_none() &&
                argument<Place>("__dlpack__", "dl_device to be two integers", dl_device) != place)
              throw py::buffer_error(cat("__dlpack__: this tensor is on ", name(d), ", which is device (", place.first,
                                         ", ", place.second, ")"));
            if (t.requires_grad()) throw TypeError("__dlpack__: a tensor that requires grad; use detach() first");
            return dlpack_of(t.array(), stream, max_version, copy);
          },
          py::kw_only(), py::arg("stream") = py::none(), py::arg("max_version") = py::none(),
          py::arg("dl_device") = py::none(), py::arg("copy") = py::none(),
          R"(A DLPack capsule over this tensor's memory, for `from_dlpack` of other libraries.

Args:
    stream: of a tensor on a device the consumer's stream, a number, which waits for what was queued for the tensor:
        None or 1 for the device's own, 2 for the thread's, -1 for none.
    max_version, dl_device, copy: as in Python's array API standard.

Raises:
    ValueError: stream is 0 or below -1.
    TypeError: the tensor requires a gradient.
    BufferError: dl_device is not where the tensor is.)")
      .def_buffer([](const Tensor& t) {
        refuse_gradient("memoryview", t);
        const py::array array = numpy_of(t.array());
        return array.request();
      })
      .def("__dlpack_device__", [](const Tensor& t) { return dlpack_place("__dlpack_device__", t.device()); })
      .def("item", &item, R"(The only element as a Python number, which has no gradient.

`float(x)`, `int(x)` and NumPy, where it takes x for a number as in `array[0] = x`, do the same.

Raises:
    ValueError: the tensor has not exactly one element.

Example:
    >>> pf.tensor([[2.5]]).item()
    2.5)")
      .def(
          "tolist",
          [](const Tensor& t) {
            const DefaultFloatMode mode;
            return call_method(readable(t), "tolist");
          },
          R"(The elements as Python numbers, in a list for each axis; of a tensor without axes the number alone.

Example:
    >>> pf.tensor([[1.0, 2.0]]).tolist(), pf.tensor(3).tolist()
    ([[1.0, 2.0]], 3))")
      .def("to", &converted_to, py::arg("dtype_or_device") = py::none(), py::arg("dtype") = py::none(), py::kw_only(),
           py::arg("device") = py::none(), py::arg("non_blocking") = false,
           R"(This tensor in another dtype or on another device; itself if it is so already.

Args:
    dtype_or_device: a dtype of pyformer or NumPy, its name, a device such as "cpu", or a Tensor that has both.
    dtype, device: the same by name, as torch has them; to(device, dtype) is understood as well.
    non_blocking: taken for torch's sake, without effect.

Returns:
    Tensor of this shape. The gradient passes between float dtypes. Floats go to integers as in `pf.ops.cast`.

Raises:
    TypeError: it is no dtype that pyformer has.
    ValueError: the device is not there.

Example:
    >>> pf.tensor([1.5, -1.5]).to("int64")
    tensor([ 1, -1], dtype=int64))")
      .def("detach", &Tensor::detach, R"(The same memory without history: operations on it are not recorded.

Returns:
    Tensor of this shape and dtype that requires no gradient.

Example:
    >>> x = pf.ones(2, requires_grad=True)
    >>> x.detach().requires_grad
    False)")
      .def(
          "backward",
          [](const Tensor& t, const std::optional<Tensor>& grad, bool retain_graph) {
            backward(t, or_absent(grad).array(), retain_graph);
          },
          py::arg("grad") = py::none(), py::arg("retain_graph") = false, NoGil(),
          R"(Adds the gradient of this tensor to `grad` of every leaf it was made from, and frees what was recorded.

Args:
    grad: the gradient of this tensor, of its shape and dtype; None means 1, for a tensor of one element.
    retain_graph: keeps what was recorded, so that another backward pass can go through it.

Raises:
    RuntimeError: the tensor does not depend on anything that requires a gradient, the record was already used, or
        a value that it needs was written in place since.
    ValueError: grad has another shape, or is None for more than one element.
    TypeError: grad has another dtype.

Example:
    >>> x = pf.tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> (x * x).backward(pf.tensor([1.0, 0.0, 10.0]))
    >>> x.grad
    tensor([ 2.,  0., 60.], dtype=float32))")
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
  bind_index_copy(core);

  core.def("tensor", &tensor_from, py::arg("data"), py::arg("dtype") = py::none(), py::arg("device") = py::none(),
           py::arg("requires_grad") = false, R"(A new tensor that copies data.

Args:
    data: a number, a (nested) list, a NumPy array, or anything with `__dlpack__`, `__array__` or the buffer protocol.
        Of a Tensor that requires a gradient the copy has none, and a UserWarning says so: `x.clone()` keeps it, and
        `x.detach().clone()` means to let it go. In a list such a Tensor is refused.
    dtype: a dtype of pyformer or NumPy, or its name. By default arrays keep theirs (narrow integers widen); Python
        floats become float32, integers int64. Tensors in a list must have one dtype; floats beside them take it.
    device: where it shall lie, "cpu" by default.
    requires_grad: whether gradients are formed for it, which floats only can.

Returns:
    Tensor of the data's shape.

Raises:
    TypeError: the data's dtype has no counterpart here, or requires_grad with integers.
    ValueError: the data is ragged or no numbers, a number does not fit in the dtype, or the device is not there.

Example:
    >>> pf.tensor([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]], dtype=int64)
    >>> pf.tensor([1, 2], dtype="float64", requires_grad=True)
    tensor([1., 2.], dtype=float64, requires_grad=True))");
  core.def(
      "asarray", [](const py::object& data, const py::object& device) { return moved(tensor_sharing(data), device); },
      py::arg("data"), py::arg("device") = py::none(),
      R"(A tensor that shares the data's memory where its layout allows (contiguous, aligned, native, writable); else a copy.

Args:
    data: as for `pf.tensor`; a Tensor is returned as it is.
    device: where it shall lie, where the data is by default; there it is a copy unless the data is there already.

Returns:
    Tensor of the data's shape and dtype.

Raises:
    TypeError: the data's dtype has no counterpart here.
    ValueError: the data is ragged or no numbers, or the device is not there.

Example:
    >>> a = np.zeros(2, np.float32)
    >>> x = pf.asarray(a)
    >>> a[0] = 5.0
    >>> x
    tensor([5., 0.], dtype=float32))");
  core.def(
      "from_dlpack",
      [](const py::object& data, const py::object& device) { return moved(Tensor(array_from_dlpack(data)), device); },
      py::arg("data"), py::arg("device") = py::none(),
      R"(A tensor over the memory of another library's array, without a copy if that is contiguous and writable.

Args:
    data: anything with `__dlpack__` in CPU memory or on a device that pyformer has, such as a torch tensor.
    device: where the tensor shall lie, by default where the data are; elsewhere it is a copy.

Returns:
    Tensor of the data's shape and dtype.

Raises:
    TypeError: it has no `__dlpack__`, or a dtype without a counterpart here.
    ValueError: the device is not there.

Example:
    >>> pf.from_dlpack(np.arange(3))
    tensor([0, 1, 2], dtype=int64))");
}

}  // namespace pyformer::bindings
