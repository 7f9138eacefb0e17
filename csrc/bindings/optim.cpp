// Optimiser steps and other operations that write in place to lists of tensors.
#include <pybind11/functional.h>

#include "bindings.h"
#include "pyformer/ops/adamw/adamw.h"
#include "pyformer/ops/global_norm/global_norm.h"
#include "pyformer/ops/in_place/in_place.h"
#include "pyformer/ops/sgd/sgd.h"

namespace pyformer::bindings {

// None stands for an absent tensor.
using OptionalTensors = std::vector<std::optional<Tensor>>;
static std::vector<Tensor> tensors_of(const OptionalTensors& given) {
  std::vector<Tensor> tensors;
  for (const std::optional<Tensor>& t : given) tensors.push_back(t.value_or(Tensor()));
  return tensors;
}

using Tensors = std::vector<Tensor>;
static void adamw_step(const Tensors& params, const Tensors& grads, const Tensors& exp_avgs, const Tensors& exp_avg_sqs,
                       double lr, double beta1, double beta2, double eps, double weight_decay, int64_t step,
                       const OptionalTensors& masters, const std::function<std::array<double, 6>()>& next,
                       const std::optional<Tensor>& norm, const std::optional<Tensor>& skipped) {
  adamw_step_(params, grads, exp_avgs, exp_avg_sqs, lr, beta1, beta2, eps, weight_decay, step, tensors_of(masters),
              {next, norm.value_or(Tensor()), skipped.value_or(Tensor())});
}
static void sgd_step(const Tensors& params, const Tensors& grads, const Tensors& momentum_buffers, double lr,
                     double momentum, double weight_decay, bool nesterov, const OptionalTensors& masters,
                     const std::function<double()>& next, const std::optional<Tensor>& norm) {
  sgd_step_(params, grads, momentum_buffers, lr, momentum, weight_decay, nesterov, tensors_of(masters),
            {next, norm.value_or(Tensor())});
}

// One call for all that an optimiser's step checks of a parameter's state.
static bool is_state_of(const Tensor& parameter, const py::dict& state, const py::tuple& names) {
  const DType dtype = gradient_dtype(parameter.dtype());
  const Device device = parameter.device();
  bool has_master = false;
  for (const auto& [name, kept] : state) {
    has_master =
        has_master || (PyUnicode_Check(name.ptr()) && PyUnicode_CompareWithASCIIString(name.ptr(), "master") == 0);
    if (py::isinstance<Tensor>(kept)) {
      const Tensor& tensor = kept.cast<const Tensor&>();
      if (tensor.dtype() != dtype || tensor.device() != device) return false;
    }
  }
  for (const py::handle& name : names)
    if (!state.contains(name)) return false;
  return has_master == (item_bytes(parameter.dtype()) == 2);
}

void bind_optim(py::module_& core) {
  core.def("is_state_of", &is_state_of, py::arg("parameter"), py::arg("state"), py::arg("names"),
           "Whether an optimiser's state of a parameter can be used as it is: its tensors are on the parameter's "
           "device and of its gradient's dtype, those named are there, and a \"master\" is if the parameter is of 16 "
           "bits, and only then.");
  core.def("adamw_step_", &adamw_step, py::arg("params"), py::arg("grads"), py::arg("exp_avgs"), py::arg("exp_avg_sqs"),
           py::arg("lr"), py::arg("beta1"), py::arg("beta2"), py::arg("eps"), py::arg("weight_decay"), py::arg("step"),
           py::arg("masters") = OptionalTensors(), py::arg("next") = py::none(), py::arg("norm") = py::none(),
           py::arg("skipped") = py::none(), NoGil(),
           R"(One step of AdamW over lists of tensors, in place; step counts from 1.

params, grads, exp_avgs, exp_avg_sqs: lists of the same length, shapes and dtypes; for 16-bit params the others are
float32. masters: a float32 copy of each 16-bit parameter, which is stepped in its place, None for the others.
norm, skipped: on a device, a number unless which is finite nothing is written, and how many of the counted steps were
not taken. next: for a step that is recorded, gives lr, betas, eps, weight_decay and step of each replay.
All is checked before anything is written. Raises ValueError for lists that don't match, share memory or for a
coefficient out of range, TypeError for dtypes. Source: Loshchilov, Hutter 2019, algorithm 2.)");
  core.def("sgd_step_", &sgd_step, py::arg("params"), py::arg("grads"), py::arg("momentum_buffers"), py::arg("lr"),
           py::arg("momentum") = 0.0, py::arg("weight_decay") = 0.0, py::arg("nesterov") = false,
           py::arg("masters") = OptionalTensors(), py::arg("next") = py::none(), py::arg("norm") = py::none(), NoGil(),
           R"(One step of gradient descent over lists of tensors, in place.

momentum_buffers: zeros before the first step, or an empty list without momentum. masters, norm and errors as adamw_step_; next gives the lr of
each replay.)");
  core.def(
      "global_norm", [](const std::vector<Tensor>& tensors) { return Tensor(global_norm(tensors)); },
      py::arg("tensors"), NoGil(),
      "The square root of the sum of squares of all elements, in a fixed order: a number, float64, on the tensors' "
      "device. TypeError unless they are of float dtypes.");
  core.def(
      "clip_gradients_",
      [](const std::vector<Tensor>& tensors, double max_norm) { return Tensor(clip_gradients_(tensors, max_norm)); },
      py::arg("tensors"), py::arg("max_norm"), NoGil(),
      "Scales the gradients of the tensors to a joint norm of at most max_norm and returns the norm before, a number "
      "on their device. ValueError unless max_norm is above 0.");
  // First: Python would make a number of the tensor, and wait for it.
  core.def(
      "scale_",
      [](const std::vector<Tensor>& tensors, const Tensor& factor) {
        if (factor.dtype() != DType::float64 || factor.array().size() != 1)
          throw TypeError(cat("scale_: factor must be a number or one float64, got ", name(factor.dtype()), " ",
                              factor.shape().str()));
        if (!tensors.empty()) check_device("scale_", "factor", factor.array(), "tensors[0]", tensors[0].array());
        scale_(tensors, factor.array());
      },
      py::arg("tensors"), py::arg("factor"), NoGil(),
      "Multiplies every tensor by a number on their device, float64, in place: nothing waits for it.");
  core.def("scale_", py::overload_cast<const std::vector<Tensor>&, double>(&scale_), py::arg("tensors"),
           py::arg("factor"), NoGil(),
           "Multiplies every tensor by a number, in place. TypeError unless they are of float dtypes.");
  core.def(
      "zero_", [](const Tensor& t) { zero_({t}); }, py::arg("tensor"), NoGil(), "Sets a tensor to zero, in place.");
  core.def("zero_", &zero_, py::arg("tensors"), NoGil(), "Sets every tensor to zero, in place.");
  core.def(
      "copy_", [](const Tensor& t, const Tensor& source) { copy_({t}, {source}); }, py::arg("tensor"),
      py::arg("source"), NoGil(), "Copies source into tensor. ValueError or TypeError unless shapes and dtypes match.");
  core.def("copy_", &copy_, py::arg("tensors"), py::arg("sources"), NoGil(),
           "Copies sources[i] into tensors[i]. ValueError or TypeError unless lengths, shapes and dtypes match.");
}

}  // namespace pyformer::bindings
