// Gradient mode, backward, and gradients written in Python.
#include "bindings.h"

namespace pyformer::bindings {

// backward(douts: list[Tensor], needs: list[bool]) -> sequence of Tensor or None, one an input
static std::vector<Tensor> record_python(const std::string& name, const std::vector<Tensor>& inputs,
                                         const std::vector<Tensor>& outputs, py::object backward) {
  std::vector<Array> outs;
  for (const Tensor& t : outputs) outs.push_back(t.array());
  auto callable = owned(std::move(backward));
  std::vector<Saved> saved_inputs;
  for (const Tensor& t : inputs) saved_inputs.push_back(save(t));
  return record_outputs(
      "Function", inputs, std::move(outs),
      [callable, name, saved_inputs](const std::vector<Array>& douts, const Needs& need) -> Gradients {
        py::gil_scoped_acquire gil;
        std::vector<Tensor> gradients;
        for (const Array& d : douts) gradients.emplace_back(d);
        const py::sequence results = (*callable)(gradients, need.flags);
        if (py::len(results) != need.flags.size())
          throw ValueError(
              cat(name, ": backward must return ", need.flags.size(), " gradients, got ", py::len(results)));
        Gradients arrays;
        for (size_t i = 0; i < need.flags.size(); ++i) {
          const py::object item = results[i];
          const Array& input = saved_inputs[i]();
          if (item.is_none()) {
            arrays.push_back(need[int(i)] ? Array::zeros(input.shape(), input.dtype()) : Array());
            continue;
          }
          const Array gradient = item.cast<Tensor>().array();
          if (need[int(i)] && (!(gradient.shape() == input.shape()) || gradient.dtype() != input.dtype()))
            throw ValueError(cat(name, ": gradient ", i, " must be ", pyformer::name(input.dtype()), " ",
                                 input.shape().str(), ", got ", pyformer::name(gradient.dtype()), " ",
                                 gradient.shape().str()));
          arrays.push_back(gradient);
        }
        return arrays;
      });
}

void bind_autograd(py::module_& core) {
  core.def("grad_enabled", &grad_enabled, "Whether operations on this thread are recorded.");
  core.def(
      "set_grad_enabled",
      [](bool on) {
        const bool before = grad_enabled();
        set_grad_enabled(on);
        return before;
      },
      py::arg("on"), "Sets whether operations on this thread are recorded; returns the previous setting.");
  core.def(
      "backward_many",
      [](const std::vector<Tensor>& roots, const std::vector<Tensor>& grads) {
        std::vector<Array> seeds;
        for (const Tensor& grad : grads) seeds.push_back(grad.array());
        backward(roots, std::move(seeds));
      },
      py::arg("roots"), py::arg("grads"), NoGil(), "One backward pass from several tensors at once.");
  core.def("record_python", &record_python, py::arg("name"), py::arg("inputs"), py::arg("outputs"),
           py::arg("backward"));
}

}  // namespace pyformer::bindings
