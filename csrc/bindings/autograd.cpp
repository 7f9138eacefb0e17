// Gradient mode, backward, and gradients written in Python.
#include "bindings.h"
#include "pyformer/base/float_mode.h"
#include "pyformer/core/checkpoint.h"
#include "pyformer/core/precision.h"
#include "pyformer/core/random.h"

namespace pyformer::bindings {

// The shape, dtype and device that the gradient of an input must have.
struct GradientForm {
  Shape shape;
  DType dtype;
  Device device;
};

// Checks the gradient that a backward written in Python returned for input i, and returns its Array; None means zeros.
static Array returned_gradient(const std::string& name, size_t i, const py::handle& item, const GradientForm& form) {
  if (item.is_none()) return Array::zeros(form.shape, form.dtype, form.device);
  if (!py::isinstance<Tensor>(item))
    throw TypeError(cat(name, ": gradient ", i, " must be a Tensor or None, got ", Py_TYPE(item.ptr())->tp_name));
  const Array gradient = item.cast<Tensor>().array();
  const bool fits = gradient.dtype() == form.dtype || gradient.dtype() == gradient_dtype(form.dtype);
  if (!(gradient.shape() == form.shape) || !fits || gradient.device() != form.device)
    throw ValueError(cat(name, ": gradient ", i, " must be ", pyformer::name(form.dtype), " ", form.shape.str(), " on ",
                         pyformer::name(form.device), ", got ", pyformer::name(gradient.dtype()), " ",
                         gradient.shape().str(), " on ", pyformer::name(gradient.device())));
  return gradient;
}

// Records a node whose backward is a Python function:
// backward(douts: list[Tensor], needs: list[bool]) returns a sequence with a Tensor or None for each input.
static std::vector<Tensor> record_python(const std::string& name, const std::vector<Tensor>& inputs,
                                         const std::vector<Tensor>& outputs, py::object backward) {
  std::vector<Array> outs;
  for (const Tensor& t : outputs) outs.push_back(t.array());
  std::vector<GradientForm> forms;
  for (const Tensor& t : inputs) forms.push_back({t.shape(), t.dtype(), t.device()});
  return record_outputs(
      "Function", inputs, std::move(outs),
      [callable = owned(std::move(backward)), name, forms](const std::vector<Array>& douts,
                                                           const Needs& need) -> Gradients {
        const TakeGil gil;
        std::vector<Tensor> gradients;
        for (const Array& d : douts) gradients.emplace_back(d);
        const py::sequence results = call_or_park(*callable, py::make_tuple(gradients, need.flags));
        if (py::len(results) != forms.size())
          throw ValueError(cat(name, ": backward must return ", forms.size(), " gradients, got ", py::len(results)));
        Gradients arrays;
        for (size_t i = 0; i < forms.size(); ++i)
          arrays.push_back(need[int(i)] ? returned_gradient(name, i, py::object(results[i]), forms[i]) : Array());
        return arrays;
      });
}

// again(inputs: list[Tensor]) -> list[Tensor], recorded
static std::vector<Tensor> record_checkpoint_of(const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                                                py::object again) {
  std::vector<Array> outs;
  for (const Tensor& t : outputs) outs.push_back(t.array());
  return record_checkpoint(inputs, std::move(outs),
                           [callable = owned(std::move(again))](const std::vector<Tensor>& tensors) {
                             const TakeGil gil;
                             return call_or_park(*callable, py::make_tuple(tensors)).cast<std::vector<Tensor>>();
                           });
}

// ---- questions that every call of a module asks --------------------------------------------------------------------
// They are plain CPython functions: a call of one costs a tenth of a call through pybind11.

template <bool (*question)()>
static PyObject* answer(PyObject*, PyObject*) {
  return PyBool_FromLong(question());
}

static bool may_enter_autocast() { return had_bfloat16_parameters() && !precision(); }
static bool is_plain_call() {
  return float_mode() == kDefaultFloatMode && !may_enter_autocast() && !StreamScope::is_noting();
}

static PyMethodDef questions[] = {
    {"grad_enabled", &answer<grad_enabled>, METH_NOARGS,
     "grad_enabled()\n--\n\nWhether operations on this thread are recorded."},
    {"may_enter_autocast", &answer<may_enter_autocast>, METH_NOARGS,
     "may_enter_autocast()\n--\n\nFalse where no module can be that enters autocast by itself: this thread is within "
     "one, or there never was a parameter of bfloat16."},
    {"is_plain_call", &answer<is_plain_call>, METH_NOARGS,
     "is_plain_call()\n--\n\nWhether calling a module now is calling its forward: this thread computes in the default "
     "floating-point mode, no checkpoint notes what modules do, and no module can be that enters autocast by itself."},
    {}};

void bind_autograd(py::module_& core) {
  if (PyModule_AddFunctions(core.ptr(), questions) != 0) throw py::error_already_set();
  core.def(
      "set_grad_enabled",
      [](bool on) {
        const bool before = grad_enabled();
        set_grad_enabled(on);
        return before;
      },
      py::arg("on"), "Sets whether operations on this thread are recorded; returns the previous setting.");
  core.def("precision", &precision, "The dtype of this thread's autocast, or None outside of one.");
  core.def(
      "set_precision",
      [](const Precision& mode) {
        const Precision before = precision();
        set_precision(mode);
        return before;
      },
      py::arg("mode").none(true), "Sets the dtype of this thread's autocast, or None; returns the previous setting.");
  core.def(
      "backward_many",
      [](const std::vector<Tensor>& roots, const std::vector<Tensor>& grads) {
        std::vector<Array> seeds;
        for (const Tensor& grad : grads) seeds.push_back(grad.array());
        backward(roots, std::move(seeds));
      },
      py::arg("roots"), py::arg("grads"), NoGil(), "One backward pass from several tensors at once.");
  core.def(
      "gradients",
      [](const std::vector<Tensor>& roots, const std::vector<std::optional<Tensor>>& grads,
         const std::vector<Tensor>& wanted, bool keep) {
        std::vector<Array> seeds;
        for (const auto& grad : grads) seeds.push_back(or_absent(grad).array());
        std::vector<std::optional<Tensor>> results;
        for (Array& gradient : gradients(roots, std::move(seeds), wanted, keep))
          results.push_back(gradient.defined() ? std::optional(Tensor(std::move(gradient))) : std::nullopt);
        return results;
      },
      py::arg("roots"), py::arg("grads"), py::arg("wanted"), py::arg("keep") = false, NoGil(),
      "The gradients of some tensors; None where the roots do not depend on one.");
  core.def(
      "version", [](const Tensor& t) { return t.array().storage().version(); }, py::arg("tensor"),
      "How many writes in place its memory has seen; those through NumPy and DLPack are not seen.");
  core.def(
      "identity", [](const Tensor& t) { return reinterpret_cast<uintptr_t>(t.identity()); }, py::arg("tensor"),
      "A number that tells tensors apart while they live; x.to(x.dtype) has x's, x.detach() has not.");
  core.def(
      "set_array_", [](Tensor& t, const Tensor& source) { t.set_array(source.array()); }, py::arg("tensor"),
      py::arg("source"),
      "Gives a leaf without a gradient the memory of source, of its shape and of any dtype and device.");
  core.def("record_python", &record_python, py::arg("name"), py::arg("inputs"), py::arg("outputs"),
           py::arg("backward"));
  core.def("record_checkpoint", &record_checkpoint_of, py::arg("inputs"), py::arg("outputs"), py::arg("again"));
}

}  // namespace pyformer::bindings
