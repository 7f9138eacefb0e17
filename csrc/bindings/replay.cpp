// Replay: kernel calls recorded once and made again.
#include "pyformer/core/replay.h"

#include "bindings.h"

namespace pyformer::bindings {

void bind_replay(py::module_& core) {
  py::class_<Replay> cls(core, "Replay", "Kernel calls recorded between begin and end, made again with other inputs.");
  cls.def(py::init<std::vector<Tensor>, std::vector<Tensor>>(), py::arg("inputs"), py::arg("weights"))
      .def("begin", &Replay::begin)
      .def("end", &Replay::end, py::arg("out"))
      .def("cancel", &Replay::cancel)
      .def_property_readonly("refused", &Replay::refused)
      .def("times", &Replay::times)
      .def("serves", &Replay::serves)
      .def("__call__", &Replay::operator(), py::arg("inputs"), NoGil());
  reinterpret_cast<PyTypeObject*>(cls.ptr())->tp_new = &new_for_call;
}

}  // namespace pyformer::bindings
