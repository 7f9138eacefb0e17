// Zero-copy exchange with other array libraries through DLPack, both ways.
#include "dlpack.h"

#include "bindings.h"
#include "pyformer/core/arithmetic/arithmetic.h"

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
  void* consumer = nullptr;  // its stream, if that is one of its own

  // The consumer's stream is still there when it lets the memory go, and need not be later.
  ~Exported() {
    if (consumer) array.storage().take_from(consumer);
  }

  dlpack::TensorView view() {
    int64_t stride = 1;
    for (int i = array.ndim() - 1; i >= 0; --i) {
      shape[i] = array.dim(i);
      strides[i] = stride;
      stride *= std::max<int64_t>(shape[i], 1);
    }
    refuse_to_record("an array is given to another library");
    const Device d = array.device();
    const dlpack::Device place = {device_api(d).dlpack_type, d.index};
    return {array.raw(), place, array.ndim(), dlpack_type(array.dtype()), shape, strides, 0};
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

// The consumer's stream, a number, waits for what was queued on the tensor's: the rule of Python's array API standard.
// None and 1 are the device's own, 2 the thread's of the CUDA driver; -1: nothing waits. When the consumer lets the
// memory go, what it queued on its stream may still use it: returns that stream. The device's own, which is null and
// there for ever, stands for 2, behind which it comes, and for a stream that nobody names.
static void* hand_over(const Array& array, const py::object& stream) {
  const Device d = array.device();
  if (d.is_cpu()) return nullptr;
  const int64_t number = stream.is_none() ? 1 : argument<int64_t>("__dlpack__", "stream to be None or an int", stream);
  if (number == 0 || number < -1) throw ValueError(cat("__dlpack__: stream must be None, -1 or from 1, got ", number));
  void* const named = reinterpret_cast<void*>(number);
  if (number != -1) array.storage().hand_to(named);
  if (number > 2) return named;
  array.storage().note_user(nullptr);
  return nullptr;
}

py::object dlpack_of(const Array& array, const py::object& stream, const py::object& max_version,
                     const py::object& copy) {
  const bool versioned =
      !max_version.is_none() &&
      argument<std::pair<int, int>>("__dlpack__", "max_version to be two integers", max_version).first >= 1;
  const bool copied = !copy.is_none() && argument<bool>("__dlpack__", "copy to be None or a bool", copy);
  std::unique_ptr<Exported> owned(new Exported{copied ? copy_without_gil(array) : array, {}, {}});
  owned->consumer = hand_over(owned->array, stream);
  const dlpack::TensorView view = owned->view();
  Exported* const context = owned.release();
  PyObject* capsule;
  if (versioned) {
    auto* managed = new dlpack::ManagedVersioned{{1, 0}, context, delete_managed<dlpack::ManagedVersioned>, 0, view};
    capsule = PyCapsule_New(managed, "dltensor_versioned",
                            [](PyObject* c) { release_capsule<dlpack::ManagedVersioned>(c, "dltensor_versioned"); });
  } else {
    auto* managed = new dlpack::Managed{view, context, delete_managed<dlpack::Managed>};
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

// Its owner may reuse the memory as soon as it is let go, so the copy is waited for.
static Array copied_there(const dlpack::TensorView& view, void* data, const Shape& shape, DType dtype, Device device) {
  const ReleaseGil release;
  const Array out = Array::empty(shape, dtype, device);
  Region from = region_of(out);
  from.start = data;
  for (int i = 0; view.strides && i < view.ndim; ++i) from.strides[i] = view.strides[i];
  strided_copy(shape, dtype, device, region_of(out), from);
  wait_for(device);
  return out;
}

// Shares a row-major, writable tensor; copies any other element by element.
static Array array_of(const dlpack::TensorView& view, bool read_only, std::shared_ptr<void> owner) {
  refuse_to_record("an array lies in memory of another library");
  const Device device = device_of_dlpack(view.device.type, view.device.id);
  const Shape shape(view.shape, view.ndim);
  const DType dtype = dtype_of(view.dtype);
  char* data = static_cast<char*>(view.data) + view.byte_offset;
  const int64_t item = item_bytes(dtype);
  const bool aligned = reinterpret_cast<uintptr_t>(data) % uintptr_t(item) == 0;
  if (shape.size() == 0) return Array::empty(shape, dtype, device);
  if (is_row_major(view) && aligned && !read_only) return Array::borrow(data, shape, dtype, device, std::move(owner));
  if (!device.is_cpu()) return copied_there(view, data, shape, dtype, device);
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

static Device device_of_exporter(const py::object& data) {
  if (!py::hasattr(data, "__dlpack_device__")) return kCpu;
  const py::object place = call_method(data, "__dlpack_device__");
  const auto [type, id] = argument<std::pair<int, int>>("from_dlpack", "__dlpack_device__ to give two integers", place);
  return device_of_dlpack(type, id);
}

// That of the calling thread, which the exporter makes wait; None where the device has no streams.
static py::object number_of_stream(Device device) {
  void* const stream = device_api(device).streams.current(device.index);
  return stream ? py::object(py::int_(reinterpret_cast<uintptr_t>(stream))) : py::none();
}

Array array_from_dlpack(const py::object& data) {
  if (!py::hasattr(data, "__dlpack__"))
    throw TypeError(cat("from_dlpack: expected an object with __dlpack__, got ", Py_TYPE(data.ptr())->tp_name));
  refuse_lossy("from_dlpack", data);
  py::dict stream, options(py::arg("max_version") = py::make_tuple(1, 0));
  if (const Device device = device_of_exporter(data); !device.is_cpu()) {
    stream["stream"] = number_of_stream(device);
    options["stream"] = stream["stream"];
  }
  py::object capsule;
  try {
    capsule = call_or_park(data.attr("__dlpack__"), py::tuple(), options);
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_TypeError)) throw;
    capsule = call_or_park(data.attr("__dlpack__"), py::tuple(), stream);  // an exporter from before version 1.0
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
