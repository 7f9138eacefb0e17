// What the binding files share. No other folder of csrc uses Python.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <cmath>
#include <optional>
#include <thread>

#include "pyformer/core/tensor.h"

namespace py = pybind11;

namespace pyformer::bindings {
bool is_masked(const py::handle& data);     // whether it is a MaskedArray of NumPy; interop.cpp
bool is_no_number(const py::handle& data);  // whether it is masked, or a Tensor that requires a gradient; interop.cpp
}  // namespace pyformer::bindings

namespace pybind11::detail {

// Accepts as an integer what has __index__; pybind11's own casters would truncate np.float32(2.7) to 2.
template <class T>
struct integer_caster {
  PYBIND11_TYPE_CASTER(T, const_name("int"));
  bool load(handle source, bool) {
    if (!source || !PyIndex_Check(source.ptr())) return false;
    if (!PyLong_Check(source.ptr()) && pyformer::bindings::is_masked(source)) return false;
    const object integer = reinterpret_steal<object>(PyNumber_Index(source.ptr()));
    const auto number = integer ? as_wide(integer.ptr()) : 0;
    if (PyErr_Occurred()) {
      PyErr_Clear();
      return false;
    }
    value = T(number);
    return value == number;
  }
  static handle cast(T number, return_value_policy, handle) {
    return std::is_signed_v<T> ? PyLong_FromLongLong(int64_t(number)) : PyLong_FromUnsignedLongLong(uint64_t(number));
  }

 private:
  static auto as_wide(PyObject* integer) {
    if constexpr (std::is_signed_v<T>)
      return PyLong_AsLongLong(integer);
    else
      return PyLong_AsUnsignedLongLong(integer);
  }
};
template <>
struct type_caster<int> : integer_caster<int> {};
template <>
struct type_caster<int64_t> : integer_caster<int64_t> {};
template <>
struct type_caster<uint64_t> : integer_caster<uint64_t> {};

// Refuses a tensor that requires a gradient, which would be lost; module.cpp words the error.
template <>
struct type_caster<double> {
  PYBIND11_TYPE_CASTER(double, const_name("float"));
  bool load(handle source, bool) {
    if (!source || !PyNumber_Check(source.ptr()) || pyformer::bindings::is_no_number(source)) return false;
    value = PyFloat_AsDouble(source.ptr());
    const bool failed = value == -1 && PyErr_Occurred();
    if (failed) PyErr_Clear();
    return !failed;
  }
  static handle cast(double number, return_value_policy, handle) { return PyFloat_FromDouble(number); }
};

// Treats a sequence that cannot be read, or that is too long for memory, as an argument of the wrong type.
template <class T>
struct careful_list_caster : list_caster<std::vector<T>, T> {
  bool load(handle source, bool convert) {
    try {
      return list_caster<std::vector<T>, T>::load(source, convert);
    } catch (const std::exception&) {
      return false;
    }
  }
};
template <>
struct type_caster<std::vector<int64_t>> : careful_list_caster<int64_t> {};
template <>
struct type_caster<std::vector<pyformer::Tensor>> : careful_list_caster<pyformer::Tensor> {};

}  // namespace pybind11::detail

namespace pyformer::bindings {

// Calls function, a call into Python that throws no C++ exception. While the interpreter shuts down, Python ends a
// daemon thread that asks for the GIL by pthread_exit, which unwinds the stack; a destructor on the way would call
// std::terminate. Such a thread is stopped here and sleeps until the process ends.
template <class Function>
void or_park(Function function) noexcept {
  try {
    function();
  } catch (...) {
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  }
}

// Releases the GIL while it lives; code in its scope must not touch Python objects.
class ReleaseGil {
 public:
  ReleaseGil() : state_(PyEval_SaveThread()) {}
  ~ReleaseGil() {
    or_park([this] { PyEval_RestoreThread(state_); });
  }
  ReleaseGil(const ReleaseGil&) = delete;
  ReleaseGil& operator=(const ReleaseGil&) = delete;

 private:
  PyThreadState* state_;
};
using NoGil = py::call_guard<ReleaseGil>;

// Holds the GIL while it lives, on any thread.
class TakeGil {
 public:
  TakeGil() {
    or_park([this] { state_ = PyGILState_Ensure(); });
  }
  ~TakeGil() { PyGILState_Release(state_); }
  TakeGil(const TakeGil&) = delete;
  TakeGil& operator=(const TakeGil&) = delete;

 private:
  PyGILState_STATE state_{};
};

// Calls function, which drops a reference to a Python object, with the GIL held. Does nothing after Python's shutdown.
template <class Function>
void let_go_with_gil(Function function) {
  if (!Py_IsInitialized()) return;
  const TakeGil gil;
  function();
}

// Returns callable(*args, **kwargs). All that runs Python code or releases the GIL inside, such as NumPy's copies, is
// called through here: Python may end the thread there (or_park), below C++ frames with destructors.
inline py::object call_or_park(const py::object& callable, const py::tuple& args, const py::dict& kwargs = {}) {
  PyObject* result = nullptr;
  or_park([&] { result = PyObject_Call(callable.ptr(), args.ptr(), kwargs.ptr()); });
  if (!result) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(result);
}

// Returns owner.name(*args), called by call_or_park.
template <class... Args>
py::object call_method(const py::object& owner, const char* name, const Args&... args) {
  return call_or_park(owner.attr(name), py::make_tuple(args...));
}

// The tp_new of classes with a constructor. Where tp_new is not that of pybind11's base class, Python refuses a direct
// call of Class.__new__(Class), which would create an object that holds nothing.
PyObject* new_for_call(PyTypeObject* type, PyObject* args, PyObject* kwargs);

using DeviceName = std::optional<std::string>;
DeviceName name_of_device(py::handle value);  // value: a name, a device or None; TypeError for anything else
inline Device device_or_default(const DeviceName& device) {
  return device ? device_from_name(*device) : default_device();
}

// An integer dtype's least value, and the least value above its range.
struct IntegerRange {
  double least, beyond;
};
inline IntegerRange integer_range(DType dtype) {
  const double span = std::ldexp(1.0, 8 * int(item_bytes(dtype)));
  return dtype == DType::uint8 ? IntegerRange{0, span} : IntegerRange{-span / 2, span / 2};
}

inline Tensor or_absent(const std::optional<Tensor>& tensor) { return tensor ? *tensor : Tensor(); }

// A Python object owned by C++ code, which may drop it on a thread that does not hold the GIL.
inline std::shared_ptr<py::object> owned(py::object object) {
  return std::shared_ptr<py::object>(new py::object(std::move(object)),
                                     [](py::object* o) { let_go_with_gil([o] { delete o; }); });
}

// repr(value), or "a value of type T" where repr raises or takes more than 200 bytes.
std::string shown(py::handle value);

// Converts value to a T, or raises a TypeError that starts with the op's name.
template <class T>
T argument(const char* op, const char* expected, py::handle value) {
  try {
    return value.cast<T>();
  } catch (const std::exception&) {  // from pybind11, from reading a sequence, or for lack of memory
    throw TypeError(cat(op, ": expected ", expected, ", got ", shown(value)));
  }
}

Array on_cpu(const Array& array);  // tensor.cpp; releases the GIL, as it may wait for a device

// interop.cpp
// Raises TypeError for data that NumPy would read with a loss: a masked array, alone or in a nest of lists, whose
// masked elements would become data, and a Tensor in a list that requires a gradient.
void refuse_lossy(const char* op, const py::handle& data);
// Raises TypeError if t requires a gradient, which NumPy would lose.
void refuse_gradient(const char* op, const Tensor& t);
Tensor tensor_from(const py::object& data, const py::object& dtype, const py::object& device, bool requires_grad);
Tensor tensor_sharing(const py::object& data);
py::array numpy_of(const Array& array);       // shares memory; TypeError for bfloat16
DType dtype_from(const py::object& dtype);    // a pyformer or NumPy dtype, or its name
bool is_dtype_name(const std::string& name);  // of a dtype here or in NumPy

// dlpack.cpp
bool is_dlpack_only(const py::object& data);  // whether it is read through DLPack because NumPy may be unable to
Array array_from_dlpack(const py::object& data);
py::object dlpack_of(const Array& array, const py::object& stream, const py::object& max_version,
                     const py::object& copy);

// creation.cpp
// Rounds a Python integer beyond int64 "to odd", to a double whose last bit is 1 where bits were cut off. That double
// rounds to a narrower float as the integer itself would; the nearest double may be a tie that the integer is not.
double rounded_to_odd(py::handle integer);
// Reads the shape (2, 3) from any of (2, 3), ((2, 3),) and ([2, 3],).
Shape shape_from(const char* op, const py::args& args);

// One function for each file: it adds the file's functions to the module pyformer._core or to its submodule ops.
void bind_dtypes(py::module_& core);
void bind_tensor(py::module_& core);
void bind_creation(py::module_& core);
void bind_random(py::module_& core);
void bind_autograd(py::module_& core);
void bind_device(py::module_& core);
void bind_runtime(py::module_& core);
void bind_cache(py::module_& core);
void bind_optim(py::module_& core);
void bind_attention(py::module_& core, py::module_& ops);
void bind_convolution(py::module_& ops);
void bind_elementwise(py::module_& ops);
void bind_files(py::module_& core);
void bind_matmul(py::module_& core, py::module_& ops);
void bind_normalization(py::module_& ops);
void bind_quantized(py::module_& core);
void bind_reduce(py::module_& ops);
void bind_replay(py::module_& core);
void bind_sequence(py::module_& ops);
void bind_shape(py::module_& ops);
void bind_unary(py::module_& ops);

// The methods and operators of Tensor that are operations.
void bind_tensor_matmul(py::class_<Tensor>& cls);
// Adds + - * / // **, unary -, comparisons, the logical & | ~ and their reflected forms, and exp, log, sqrt, ... as
// methods. An operand of another type gives NotImplemented. == compares elements; tensors hash by identity.
void bind_tensor_operators(py::class_<Tensor>& cls);
void bind_tensor_unary(py::class_<Tensor>& cls);
void bind_tensor_reductions(py::class_<Tensor>& cls);
void bind_tensor_shape(py::class_<Tensor>& cls);
void bind_index_copy(py::module_& core);  // the class of indexing's copies, which refuse writes

}  // namespace pyformer::bindings
