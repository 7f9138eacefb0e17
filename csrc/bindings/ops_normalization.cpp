// layer_norm, rms_norm, group_norm and batch_norm.
#include "bindings.h"
#include "pyformer/ops/batch_norm/batch_norm.h"
#include "pyformer/ops/group_norm/group_norm.h"
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
  ops.def(
      "group_norm",
      [](const Tensor& x, int64_t groups, const std::optional<Tensor>& weight, const std::optional<Tensor>& bias,
         double eps) { return group_norm(x, groups, or_absent(weight), or_absent(bias), eps); },
      py::arg("x"), py::arg("groups"), py::arg("weight") = py::none(), py::arg("bias") = py::none(),
      py::arg("eps") = 1e-5, NoGil(),
      R"(Normalise each image's groups of channels to mean 0 and variance 1, then scale and shift each channel.

x: (N, C, ...), float32 or float64; groups divides C; weight, bias: (C,) of the same dtype, or None.
Returns (N, C, ...). Raises ValueError for a wrong shape, TypeError for a wrong dtype.
Source: Wu, He 2018, "Group Normalization", eq. 1 to 3.)");
  ops.def(
      "batch_norm",
      [](const Tensor& x, const std::optional<Tensor>& running_mean, const std::optional<Tensor>& running_var,
         const std::optional<Tensor>& weight, const std::optional<Tensor>& bias, bool training, double momentum,
         double eps) {
        return batch_norm(x, or_absent(running_mean), or_absent(running_var), or_absent(weight), or_absent(bias),
                          {training, momentum, eps});
      },
      py::arg("x"), py::arg("running_mean") = py::none(), py::arg("running_var") = py::none(),
      py::arg("weight") = py::none(), py::arg("bias") = py::none(), py::arg("training") = false,
      py::arg("momentum") = 0.1, py::arg("eps") = 1e-5, NoGil(),
      R"(Normalise each channel over all images and positions, then scale and shift it.

x: (N, C, ...), float32 or float64; the others: (C,) of the same dtype, or None. In training with x's own statistics,
and running_mean and running_var are written in place: (1 - momentum) * running + momentum * new, the new variance
divided by count - 1. Otherwise with the running statistics, which must be given.
Returns (N, C, ...). Raises ValueError for a wrong shape or option, TypeError for a wrong dtype.
Source: Ioffe, Szegedy 2015, "Batch Normalization", algorithms 1 and 2.)");
}

}  // namespace pyformer::bindings
