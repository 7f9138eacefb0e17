// Arrays in and out: NumPy, and whatever NumPy reads (lists, numbers, __array__, the buffer protocol).
#include <cmath>
#include <cstring>

#include "bindings.h"
#include "pyformer/base/float_mode.h"
#include "pyformer/ops/cast/cast.h"

namespace pyformer::bindings {

static const char* numpy_name(DType dtype) {
  if (const char* known = row_of(dtype).numpy) return known;
  throw TypeError(cat("numpy: NumPy has no ", name(dtype), "; use .to(pyformer.float32) first"));
}

py::array numpy_of(const Array& array) {
  const py::dtype dtype(numpy_name(array.dtype()));
  if (!array.device().is_cpu())
    throw TypeError(cat("numpy: the tensor is on ", name(array.device()), "; use .to(\"cpu\") first"));
  refuse_to_record("an array is given to NumPy");
  auto* owner = new Array(array);
  const py::capsule base(owner, [](void* p) { delete static_cast<Array*>(p); });
  return py::array(dtype, std::vector<py::ssize_t>(array.shape().begin(), array.shape().end()), array.raw(), base);
}

static std::optional<DType> dtype_named(const std::string& wanted) {
  for (int i = 0; i < kDTypeCount; ++i)
    if (wanted == name(DType(i))) return DType(i);
  return std::nullopt;
}

// A NumPy dtype's name. NumPy computes it by ten calls of Python functions, so for NumPy's own numbers it is made here
// from kind and width.
static std::string name_of(const py::dtype& dtype) {
  constexpr int kUserTypes = 24;  // NPY_NTYPES_LEGACY: dtypes that other packages define have numbers from here on
  const char kind = dtype.kind();
  if (dtype.num() < kUserTypes && kind == 'b') return "bool";
  if (dtype.num() < kUserTypes && (kind == 'f' || kind == 'i' || kind == 'u'))
    return cat(kind == 'f' ? "float" : kind == 'i' ? "int" : "uint", 8 * dtype.itemsize());
  const py::object getattr = py::module_::import("builtins").attr("getattr");
  return call_or_park(getattr, py::make_tuple(dtype, "name")).cast<std::string>();
}

DType dtype_from(const py::object& dtype) {
  const char* expected = "dtype: expected float32, float64, bfloat16, float16, int64, int32, int8, uint8 or bool, got ";
  if (dtype.is_none()) throw TypeError(cat(expected, "None"));  // NumPy's default would be float64
  if (py::isinstance<DType>(dtype)) {
    const DType known = dtype.cast<DType>();
    if (int(known) >= kDTypeCount) throw TypeError(cat(expected, "DType(", int(known), ")"));
    return known;
  }
  if (py::isinstance<py::str>(dtype))  // NumPy does not know bfloat16
    if (const auto found = dtype_named(dtype.cast<std::string>())) return *found;
  std::string wanted;
  try {
    wanted = name_of(py::dtype::from_args(dtype));
  } catch (const py::error_already_set&) {  // NumPy does not know it either
    wanted = shown(dtype);
  }
  if (const auto found = dtype_named(wanted)) return *found;
  throw TypeError(cat(expected, wanted));
}

bool is_dtype_name(const std::string& name) {
  if (dtype_named(name)) return true;
  try {
    py::dtype::from_args(py::str(name));
    return true;
  } catch (const py::error_already_set&) {
    return false;
  }
}

// Whether data is a Python number, which has no dtype of its own, or a nest of lists whose first leaf is one.
static bool is_python_number(py::object data) {
  while (py::isinstance<py::list>(data) || py::isinstance<py::tuple>(data)) {
    if (py::len(data) == 0) return true;
    data = data[py::int_(0)];
  }
  return PyFloat_CheckExact(data.ptr()) || PyLong_Check(data.ptr());
}

// What the leaves of a nest of lists are: the one dtype of its Tensors, and whether there are Python floats, Python
// integers and anything else.
struct Leaves {
  std::optional<DType> tensors;
  bool floats = false, integers = false, others = false;

  void note(const py::handle& data) {
    if (py::isinstance<py::list>(data) || py::isinstance<py::tuple>(data)) {
      for (const py::handle& item : py::reinterpret_borrow<py::sequence>(data)) note(item);
    } else if (PyFloat_CheckExact(data.ptr())) {
      floats = true;
    } else if (PyLong_Check(data.ptr())) {
      integers = true;
    } else if (py::isinstance<Tensor>(data)) {
      const DType dtype = data.cast<const Tensor&>().dtype();
      if (tensors && *tensors != dtype)
        throw TypeError(cat("tensor: expected Tensors of one dtype in a list, got ", name(*tensors), " and ",
                            name(dtype), "; give dtype="));
      tensors = dtype;
    } else {
      others = true;
    }
  }
};

[[noreturn]] static void refuse_numbers() {
  throw ValueError("tensor: expected numbers and integers that fit in int64, got something else among them");
}

// The dtype of a tensor made of a nest of lists that NumPy reads as floats. NumPy takes Python's floats as float64 and
// widens all other leaves to that; here Python's floats are float32 and Tensors keep their dtype.
static std::optional<DType> narrowed(const py::object& data) {
  Leaves leaves;
  leaves.note(data);
  if (leaves.tensors && is_float(*leaves.tensors)) return leaves.tensors;
  if (leaves.integers && !leaves.floats && !leaves.others && !leaves.tensors) refuse_numbers();
  const bool plain = leaves.tensors ? leaves.floats : is_python_number(data);
  return plain ? std::optional(DType::float32) : std::nullopt;
}

// The wider dtype in which an integer dtype that pyformer lacks is read without loss; null for any other.
static const char* widened(const std::string& dtype) {
  if (dtype == "int16" || dtype == "uint16") return "int32";
  if (dtype == "uint32") return "int64";
  return nullptr;
}

// NumPy's class MaskedArray; null while no code has imported numpy.ma, as there can be no masked array then.
static py::object masked_array_type() {
  const auto module = py::reinterpret_steal<py::object>(PyImport_GetModule(py::str("numpy.ma").ptr()));
  return module ? py::object(module.attr("MaskedArray")) : py::object();
}

bool is_masked(const py::handle& data) {
  const py::object type = masked_array_type();
  return type && py::isinstance(data, type);
}

bool is_no_number(const py::handle& data) {
  if (PyFloat_CheckExact(data.ptr()) || PyLong_CheckExact(data.ptr())) return false;
  return is_masked(data) || (py::isinstance<Tensor>(data) && data.cast<const Tensor&>().requires_grad());
}

static void refuse_lossy_in(const char* op, const py::handle& data, const py::handle& masked_array, bool in_list) {
  if (PyFloat_CheckExact(data.ptr()) || PyLong_CheckExact(data.ptr())) return;
  if (py::isinstance<py::list>(data) || py::isinstance<py::tuple>(data)) {
    for (const py::handle& item : py::reinterpret_borrow<py::sequence>(data))
      refuse_lossy_in(op, item, masked_array, true);
  } else if (masked_array && py::isinstance(data, masked_array)) {
    throw TypeError(cat(op, ": expected an array without a mask, got a MaskedArray; use its filled(value)"));
  } else if (in_list && py::isinstance<Tensor>(data) && data.cast<const Tensor&>().requires_grad()) {
    throw TypeError(
        cat(op, ": a tensor in the list requires a gradient, which would be lost: use ops.stack, or its ", "detach()"));
  }
}

void refuse_lossy(const char* op, const py::handle& data) {
  if (PyFloat_CheckExact(data.ptr()) || PyLong_CheckExact(data.ptr())) return;
  refuse_lossy_in(op, data, masked_array_type(), false);
}

void refuse_gradient(const char* op, const Tensor& t) {
  if (t.requires_grad())
    throw TypeError(cat(op, ": the tensor requires a gradient, which NumPy would lose: use pyformer's operations, or ",
                        "its detach() or numpy() where the gradient may end"));
}

// Reads data as a NumPy array of a dtype that pyformer has (bfloat16 as its bits in uint16). Python floats become
// float32, or stay float64 where the caller converts them to a wanted dtype next.
static py::array readable_array(const py::object& data, DType* dtype, bool to_wanted = false) {
  const py::module_ numpy = py::module_::import("numpy");
  refuse_lossy("tensor", data);
  py::object array;
  try {
    array = call_method(numpy, "asanyarray", data);
    refuse_lossy("tensor", array);  // __array__ may have returned a masked one
    array = call_method(numpy, "asarray", array);
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_ValueError)) throw;
    throw ValueError(cat("tensor: cannot read the data as an array: ", py::str(error.value()).cast<std::string>()));
  }
  if (!array.attr("dtype").attr("isnative").cast<bool>())
    array = call_method(array, "astype", call_method(array.attr("dtype"), "newbyteorder", "="));
  std::string name = name_of(array.attr("dtype"));
  if (const auto narrow = to_wanted || name.rfind("float", 0) != 0 ? std::nullopt : narrowed(data)) {
    name = numpy_name(*narrow);
    array = call_method(array, "astype", name);
  }
  if (const char* wide = widened(name)) {
    array = call_method(array, "astype", wide);
    name = wide;
  }
  const auto found = dtype_named(name);
  if ((name == "object" || name == "uint64") && is_python_number(data)) refuse_numbers();
  if (!found) throw TypeError(cat("tensor: expected numbers or booleans, got an array of ", name));
  *dtype = *found;
  if (*found == DType::bfloat16) array = call_method(call_method(numpy, "ascontiguousarray", array), "view", "uint16");
  return py::array(array);
}

static Shape shape_of(const py::array& array) {
  Shape shape;
  for (py::ssize_t i = 0; i < array.ndim(); ++i) shape.push_back(array.shape(i));
  return shape;
}

// Copies the usual kind of small data without calling NumPy: a contiguous numpy.ndarray, of no subclass, of int64 or
// float32 in this machine's byte order. Returns an undefined Array for any other data, and for large arrays, which
// NumPy copies while other threads run.
static Array copy_of_plain(const py::object& data) {
  constexpr int64_t kMostBytes = 1 << 14;
  if (Py_TYPE(data.ptr()) != py::detail::npy_api::get().PyArray_Type_) return {};
  const auto source = py::reinterpret_borrow<py::array>(data);
  const bool is_int64 = py::isinstance<py::array_t<int64_t>>(source);
  if (!(is_int64 || py::isinstance<py::array_t<float>>(source)) || !(source.flags() & py::array::c_style) ||
      source.nbytes() > kMostBytes)
    return {};
  const Array out = Array::empty(shape_of(source), is_int64 ? DType::int64 : DType::float32, kCpu);
  std::memcpy(out.raw(), source.data(), size_t(out.bytes()));
  return out;
}

static Array copy_of(const py::object& data, bool to_wanted = false) {
  if (py::isinstance<Tensor>(data) || is_dlpack_only(data)) {
    const Array source = py::isinstance<Tensor>(data) ? data.cast<Tensor>().array() : array_from_dlpack(data);
    ReleaseGil release;
    return source.copy();
  }
  refuse_to_record("a tensor is made of numbers of Python");
  if (const Array copy = copy_of_plain(data); copy.defined()) return copy;
  DType dtype;
  const DefaultFloatMode mode;
  const py::array source = readable_array(data, &dtype, to_wanted);
  const Array out = Array::empty(shape_of(source), dtype, kCpu);
  const py::capsule keep(&out, [](void*) {});
  const py::array target(source.dtype(), std::vector<py::ssize_t>(source.shape(), source.shape() + source.ndim()),
                         out.raw(), keep);
  call_method(py::module_::import("numpy"), "copyto", target, source);
  return out;
}

// Raises unless each number, which came from Python, is an integer that fits in dtype. Arrays of NumPy are not checked:
// they convert as cast does.
static void check_fits(const Array& numbers, DType dtype) {
  const auto [least, beyond] = integer_range(dtype);
  const auto refuse = [&](auto value) {
    throw ValueError(cat("tensor: ", value, " is not an integer that fits in ", name(dtype)));
  };
  for (int64_t i = 0; i < numbers.size(); ++i) {
    if (numbers.dtype() == DType::float64) {
      const double value = numbers.data<double>()[i];
      if (!(value >= least && value < beyond) || value != std::floor(value)) refuse(value);
    } else if (numbers.dtype() == DType::int64 && dtype != DType::int64) {
      const int64_t value = numbers.data<int64_t>()[i];
      if (double(value) < least || double(value) >= beyond) refuse(value);
    }
  }
}

Tensor tensor_from(const py::object& data, const py::object& dtype, const py::object& device, bool requires_grad) {
  const bool loses_gradient = py::isinstance<Tensor>(data) && data.cast<const Tensor&>().requires_grad();
  if (loses_gradient && PyErr_WarnEx(PyExc_UserWarning,
                                     "tensor: the copy has no gradient: x.clone() keeps it, x.detach().clone() lets it "
                                     "go without this warning",
                                     1))
    throw py::error_already_set();
  const bool stays = device.is_none() && py::isinstance<Tensor>(data);
  const Device place = stays ? data.cast<const Tensor&>().device() : device_or_default(name_of_device(device));
  if (dtype.is_none()) {
    const Array array = copy_of(data);
    const ReleaseGil release;
    return Tensor(array.to(place), requires_grad);
  }
  const DType wanted = dtype_from(dtype);
  const Array array = copy_of(data, true);
  const bool exact = is_integer(wanted) && is_python_number(data);
  ReleaseGil release;
  if (exact) check_fits(array, wanted);
  return Tensor(cast(array, wanted).to(place), requires_grad);
}

Tensor tensor_sharing(const py::object& data) {
  if (py::isinstance<Tensor>(data)) return data.cast<Tensor>();
  if (is_dlpack_only(data)) return Tensor(array_from_dlpack(data));
  DType dtype;
  const DefaultFloatMode mode;
  const py::array source = readable_array(data, &dtype);
  const bool shareable = (source.flags() & py::array::c_style) && source.writeable() &&
                         reinterpret_cast<uintptr_t>(source.data()) % uintptr_t(source.itemsize()) == 0;
  if (!shareable || source.size() == 0) return Tensor(copy_of(source));
  return Tensor(Array::borrow(const_cast<void*>(source.data()), shape_of(source), dtype, kCpu, owned(source)));
}

}  // namespace pyformer::bindings
