// layer_norm and rms_norm.
#include "bindings.h"
#include "pyformer/ops/layer_norm/layer_norm.h"
#include "pyformer/ops/rms_norm/rms_norm.h"

namespace pyformer::bindings {

void bind_normalization(py::module_& ops) {
  ops.def(
      "layer_norm",
      [](const Tensor& x, const std::optional<Tensor>& weight, const std::optional<Tensor>& bias, double eps) {
        return layer_norm(x, or_absent(weight), or_absent(bias), eps);
      },
      py::arg("x"), py::arg("weight") = py::none(), py::arg("bias") = py::none(), py::arg("eps") = 1e-5, NoGil(),
      R"(Normalise the last axis to mean 0 and variance 1, then scale and shift.

x: (..., C), float32 or float64; weight, bias: (C,) of the same dtype, or None.
Returns (..., C). Raises ValueError for a wrong shape, TypeError for a wrong dtype.
Source: Ba, Kiros, Hinton 2016, "Layer Normalization", eq. 4.)");
  ops.def(
      "rms_norm",
      [](const Tensor& x, const std::optional<Tensor>& weight, double eps) {
        return rms_norm(x, or_absent(weight), eps);
      },
      py::arg("x"), py::arg("weight") = py::none(), py::arg("eps") = 1e-6, NoGil(),
      R"(Scale the last axis to mean square 1, then by weight.

x: (..., C), float32 or float64; weight: (C,) of the same dtype, or None.
Returns (..., C). Raises ValueError for a wrong shape, TypeError for a wrong dtype.
Source: Zhang, Sennrich 2019, "Root Mean Square Layer Normalization", eq. 4.)");
}

}  // namespace pyformer::bindings
