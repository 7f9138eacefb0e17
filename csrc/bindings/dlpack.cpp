// Zero-copy exchange with other array libraries through DLPack, both ways.
#include "dlpack.h"

#include "bindings.h"

namespace pyformer::bindings {

static dlpack::DataType dlpack_type(DType dtype) {
  const uint8_t bits = uint8_t(8 * item_bytes(dtype));
  return {row_of(dtype).dlpack_code, bits, 1};
}

static DType dtype_of(dlpack::DataType type) {
  for (int i = 0; i < kDTypeCount; ++i) {
    const dlpack::DataType t = dlpack_type(DType(i));
    if (t.code == type.code && t.bits == type.bits && type.lanes == 1) return DType(i);
  }
  throw TypeError(cat(
      "from_dlpack: expected float32, float64, bfloat16, float16, int64, int32, int8, uint8 or bool, got type code ",
      int(type.code), " of ", int(type.bits), " bits"));
}

// What an exported capsule owns: the array, and the extents that its view points at.
struct Exported {
  Array array;
  int64_t shape[Shape::kMaxDims];
  int64_t strides[Shape::kMaxDims];

  dlpack::TensorView view() {
    int64_t stride = 1;
    for (int i = array.ndim() - 1; i >= 0; --i) {
      shape[i] = array.dim(i);
      strides[i] = stride;
      stride *= std::max<int64_t>(shape[i], 1);
    }
    refuse_to_record("an array is given to another library");
    return {array.raw(), {dlpack::kCpu, 0}, array.ndim(), dlpack_type(array.dtype()), shape, strides, 0};
  }
};

template <class M>
static void delete_managed(M* managed) {
  delete static_cast<Exported*>(managed->context);
  delete managed;
}

// The destructor of a capsule. A consumer renames the capsule that it takes; one that still has its name was never
// taken and owns its tensor.
template <class M>
static void release_capsule(PyObject* capsule, const char* name) {
  if (!PyCapsule_IsValid(capsule, name)) return;
  auto* managed = static_cast<M*>(PyCapsule_GetPointer(capsule, name));
  managed->deleter(managed);
}

static Array copy_without_gil(const Array& array) {
  ReleaseGil release;
  return array.copy();
}

py::object dlpack_of(const Array& array, const py::object& max_version, const py::object& copy) {
  const bool versioned =
      !max_version.is_none() &&
      argument<std::pair<int, int>>("__dlpack__", "max_version to be two integers", max_version).first >= 1;
  const bool copied = !copy.is_none() && argument<bool>("__dlpack__", "copy to be None or a bool", copy);
  auto* context = new Exported{copied ? copy_without_gil(array) : array, {}, {}};
  PyObject* capsule;
  if (versioned) {
    auto* managed =
        new dlpack::ManagedVersioned{{1, 0}, context, delete_managed<dlpack::ManagedVersioned>, 0, context->view()};
    capsule = PyCapsule_New(managed, "dltensor_versioned",
                            [](PyObject* c) { release_capsule<dlpack::ManagedVersioned>(c, "dltensor_versioned"); });
  } else {
    auto* managed = new dlpack::Managed{context->view(), context, delete_managed<dlpack::Managed>};
    capsule = PyCapsule_New(managed, "dltensor", [](PyObject* c) { release_capsule<dlpack::Managed>(c, "dltensor"); });
  }
  if (!capsule) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(capsule);
}

static bool is_row_major(const dlpack::TensorView& view) {
  int64_t stride = 1;
  for (int i = view.ndim - 1; view.strides && i >= 0; --i) {
    if (view.shape[i] != 1 && view.strides[i] != stride) return false;
    stride *= view.shape[i];
  }
  return true;
}

// Shares a row-major, writable tensor; copies any other element by element.
static Array array_of(const dlpack::TensorView& view, bool read_only, std::shared_ptr<void> owner) {
  if (view.device.type != dlpack::kCpu)
    throw ValueError(cat("from_dlpack: expected a tensor in CPU memory, got device type ", view.device.type));
  const Shape shape(view.shape, view.ndim);
  const DType dtype = dtype_of(view.dtype);
  char* data = static_cast<char*>(view.data) + view.byte_offset;
  const int64_t item = item_bytes(dtype);
  const bool aligned = reinterpret_cast<uintptr_t>(data) % uintptr_t(item) == 0;
  if (shape.size() == 0) return Array::empty(shape, dtype, kCpu);
  if (is_row_major(view) && aligned && !read_only) return Array::borrow(data, shape, dtype, kCpu, std::move(owner));
  ReleaseGil release;
  const Array out = Array::empty(shape, dtype, kCpu);
  char* target = static_cast<char*>(out.raw());
  for (int64_t i = 0; i < out.size(); ++i) {
    int64_t offset = 0, rest = i, row_major = 1;
    for (int d = view.ndim - 1; d >= 0; --d) {
      offset += rest % shape[d] * (view.strides ? view.strides[d] : row_major);
      rest /= shape[d];
      row_major *= shape[d];
    }
    std::memcpy(target + i * item, data + offset * item, size_t(item));
  }
  return out;
}

template <class M>
static Array take_capsule(PyObject* capsule, const char* name, const char* used_name, bool read_only) {
  auto* managed = static_cast<M*>(PyCapsule_GetPointer(capsule, name));
  PyCapsule_SetName(capsule, used_name);
  std::shared_ptr<void> owner(managed, [](void* p) {
    auto* m = static_cast<M*>(p);
    if (m->deleter) let_go_with_gil([m] { m->deleter(m); });  // the exporter may hold Python objects
  });
  return array_of(managed->view, read_only, std::move(owner));
}

Array array_from_dlpack(const py::object& data) {
  if (!py::hasattr(data, "__dlpack__"))
    throw TypeError(cat("from_dlpack: expected an object with __dlpack__, got ", Py_TYPE(data.ptr())->tp_name));
  refuse_lossy("from_dlpack", data);
  py::object capsule;
  try {
    const py::dict version(py::arg("max_version") = py::make_tuple(1, 0));
    capsule = call_or_park(data.attr("__dlpack__"), py::tuple(), version);
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_TypeError)) throw;
    capsule = call_method(data, "__dlpack__");  // an exporter from before version 1.0
  }
  PyObject* c = capsule.ptr();
  if (PyCapsule_IsValid(c, "dltensor_versioned")) {
    const auto* m = static_cast<dlpack::ManagedVersioned*>(PyCapsule_GetPointer(c, "dltensor_versioned"));
    if (m->version.major > 1) throw ValueError(cat("from_dlpack: expected DLPack version 1, got ", m->version.major));
    const bool read_only = m->flags & dlpack::kReadOnly;
    return take_capsule<dlpack::ManagedVersioned>(c, "dltensor_versioned", "used_dltensor_versioned", read_only);
  }
  if (PyCapsule_IsValid(c, "dltensor")) return take_capsule<dlpack::Managed>(c, "dltensor", "used_dltensor", false);
  throw TypeError("from_dlpack: __dlpack__ must return an unused capsule named dltensor");
}

bool is_dlpack_only(const py::object& data) {
  return py::hasattr(data, "__dlpack__") && !py::isinstance<py::array>(data) && !py::isinstance<Tensor>(data);
}

}  // namespace pyformer::bindings
