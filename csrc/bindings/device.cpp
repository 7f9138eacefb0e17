// Devices, and which kernels there are.
#include "bindings.h"
#include "pyformer/base/isa.h"
#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/core/graph_recording.h"
#include "pyformer/ops/kernel_tables.h"

namespace pyformer::bindings {

DeviceName name_of_device(py::handle value) {
  if (value.is_none()) return std::nullopt;
  if (py::isinstance<py::str>(value)) return value.cast<std::string>();
  if (py::isinstance<Device>(value)) return name(value.cast<Device>());
  throw TypeError(cat("device: expected a name such as 'cpu' or a pyformer.device, got ", shown(value)));
}

// For each row of a kernel table, the names of the dtypes for which it has a kernel.
static std::vector<std::vector<std::string>> filled_entries(const void* table, int64_t bytes) {
  static_assert(sizeof(void*) == 8);  // an entry is a pointer or an int64_t
  std::vector<std::vector<std::string>> rows(size_t(bytes) / (8 * kDTypeCount));
  for (size_t row = 0; table && row < rows.size(); ++row)
    for (int d = 0; d < kDTypeCount; ++d) {
      uint64_t entry;
      std::memcpy(&entry, static_cast<const char*>(table) + (row * kDTypeCount + size_t(d)) * 8, 8);
      if (entry) rows[row].emplace_back(name(DType(d)));
    }
  return rows;
}

// {op: {instruction set: [[dtype names of row 0], ...]}}
static py::dict kernel_dict() {
  py::dict ops;
  for (const KernelTableRow& table : kernel_tables()) {
    py::dict sets;
    for (int i = 0; i < kIsaCount; ++i)
      if (const void* kernels = table.table_of(Isa(i))) sets[name(Isa(i))] = filled_entries(kernels, table.bytes);
    ops[table.op] = sets;
  }
  return ops;
}

static py::dict properties_of(const py::object& device) {
  const Device d = device_or_default(name_of_device(device));
  DeviceProperties p = {};
  throw_if(device_api(d).devices.properties(d.index, &p), d);
  py::dict found;
  found["name"] = p.name;
  found["memory_bytes"] = p.memory_bytes;
  found["compute_capability"] = py::make_tuple(p.major, p.minor);
  found["multiprocessors"] = p.multiprocessors;
  return found;
}

static py::dict memory_of(const py::object& device) {
  const Device d = device_or_default(name_of_device(device));
  MemoryStatistics m = {};
  device_api(d).memory.statistics(d.index, &m);
  py::dict found;
  found["in_use_bytes"] = m.in_use;
  found["peak_bytes"] = m.peak;
  found["cached_bytes"] = m.cached;
  return found;
}

void bind_device(py::module_& core) {
  py::class_<Device>(core, "device", R"(A place where tensors live and are computed with: "cpu", "cuda:0", ...

It is made from its name. None, or no name, stands for the default: PYFORMER_DEVICE, else the CPU. "cuda" is its first
device, "cuda:1" its second. It is equal to its names, "cuda" and "cuda:0"; in a dict or set it stands beside its full
name, `str(device)`.

Raises:
    ValueError: the device is unknown or not there; the message says why.
    TypeError: the name is no text.

Example:
    >>> pf.zeros(2, device=pf.device("cpu")).device == "cpu"
    True)")
      .def(py::init([](const py::object& name) { return device_or_default(name_of_device(name)); }),
           py::arg("name") = py::none())
      .def_property_readonly(
          "type", [](Device d) { return std::string(device_api(d).kind); }, R"(The kind of device: "cpu", "cuda".

Example:
    >>> pf.device("cpu").type
    'cpu')")
      .def_property_readonly(
          "index", [](Device d) { return int(d.index); }, R"(Which of its kind, from 0.

Example:
    >>> pf.device("cpu").index
    0)")
      .def("__str__", [](Device d) { return name(d); })
      .def("__repr__", [](Device d) { return cat("pyformer.device('", name(d), "')"); })
      .def("__hash__", [](Device d) { return py::hash(py::str(name(d))); })
      .def("__eq__",
           [](Device d, const py::object& other) {
             if (py::isinstance<Device>(other)) return d == other.cast<Device>();
             if (!py::isinstance<py::str>(other)) return false;
             const std::string text = other.cast<std::string>();
             return text == name(d) || (d.index == 0 && text == device_api(d).kind);
           })
      .def("__reduce__",
           [](const py::object& self) { return py::make_tuple(py::type::of(self), py::make_tuple(py::str(self))); });
  core.def("default_device", &default_device, "PYFORMER_DEVICE, else the CPU.");
  core.def(
      "synchronize", [](const py::object& device) { raise_pending(device_or_default(name_of_device(device))); },
      py::arg("device"), "Waits until all that this thread queued on the device is done, and raises what went wrong.");
  core.def("device_properties", &properties_of, py::arg("device"), "What a device is, as a dict.");
  core.def("device_memory", &memory_of, py::arg("device"), "Bytes that a device's library handed out and keeps.");
  core.def(
      "empty_device_cache",
      [](const py::object& device) {
        const Device d = device_or_default(name_of_device(device));
        throw_if(device_api(d).memory.trim(d.index), d);
      },
      py::arg("device"), "Gives cached memory back to the device.");
  core.def(
      "make_stream",
      [](const py::object& device) {
        const Device d = device_or_default(name_of_device(device));
        void* stream = nullptr;
        throw_if(device_api(d).streams.make(d.index, &stream), d);
        return reinterpret_cast<uintptr_t>(stream);
      },
      py::arg("device"), "A new stream of a device, a number.");
  core.def(
      "enter_stream",
      [](const py::object& device, uintptr_t stream) {
        const Device d = device_or_default(name_of_device(device));
        void* before = nullptr;
        throw_if(device_api(d).streams.enter(reinterpret_cast<void*>(stream), d.index, &before), d);
        return reinterpret_cast<uintptr_t>(before);
      },
      py::arg("device"), py::arg("stream"),
      "Makes it the calling thread's, 0: the device's own. Returns the one before.");
  core.def(
      "destroy_stream",
      [](const py::object& device, uintptr_t stream) {
        const Device d = device_or_default(name_of_device(device));
        device_api(d).streams.destroy(reinterpret_cast<void*>(stream), d.index);
      },
      py::arg("device"), py::arg("stream"), "Ends a stream that no thread is on; a later one may be the same.");
  core.def(
      "is_recording",
      [](const py::object& device) { return GraphRecording::of(device_or_default(name_of_device(device))) != nullptr; },
      py::arg("device"), "Whether the calling thread records what it has the device do.");
  py::class_<GraphRecording>(core, "GraphRecording",
                             "What a thread has a device do from here on to `end`, to be done again.")
      .def(py::init([](const py::object& device) {
             return std::make_unique<GraphRecording>(device_or_default(name_of_device(device)));
           }),
           py::arg("device"))
      .def("end", &GraphRecording::end, "Ends the recording. RuntimeError if what was recorded can't be done again.")
      .def("replay", &GraphRecording::replay, "Queues all of it on the calling thread's stream.");
  core.def("kernels", &kernel_dict,
           "The kernels of the CPU: op -> instruction set -> the dtypes that each row of its table has.");
}

}  // namespace pyformer::bindings
