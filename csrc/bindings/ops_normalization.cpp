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
      R"(Normalises the last axis to mean 0 and variance 1, then scales and shifts it.

out = (x - mean) / sqrt(variance + eps) * weight + bias, the variance being that of all C elements (not C - 1).
A row of equal numbers gives exactly the bias (with eps = 0 it is 0 / 0: NaN). Rows far from 0, and rows whose squares
overflow or vanish, are as exact as others. A row that holds an infinity or NaN gives NaN.

Args:
    x: (..., C), float.
    weight, bias: (C,), x's dtype, or None for ones and zeros.
    eps: added to the variance.

Returns:
    Tensor (..., C) of x's dtype.

Raises:
    ValueError: a shape does not fit.
    TypeError: a dtype is not float, or differs from x's.

Source: Ba, Kiros, Hinton 2016, "Layer Normalization", eq. 4.

Example:
    >>> x = pf.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 6.0]])
    >>> pf.ops.layer_norm(x)
    tensor([[-1.2247356 ,  0.        ,  1.2247356 ],
            [-0.70710635, -0.70710635,  1.4142127 ]], dtype=float32)
    >>> pf.ops.layer_norm(x, weight=pf.ones(4))
    Traceback (most recent call last):
        ...
    ValueError: layer_norm: weight must be (C,) = (3,), got (4,))");
  ops.def(
      "rms_norm",
      [](const Tensor& x, const std::optional<Tensor>& weight, double eps) {
        return rms_norm(x, or_absent(weight), eps);
      },
      py::arg("x"), py::arg("weight") = py::none(), py::arg("eps") = 1e-6, NoGil(),
      R"(Scales the last axis to mean square 1, then by weight: out = x / sqrt(mean(x^2) + eps) * weight.

Rows whose squares overflow or vanish are as exact as others. A row that holds an infinity or NaN gives NaN.

Args:
    x: (..., C), float.
    weight: (C,), x's dtype, or None for ones.
    eps: added to the mean square.

Returns:
    Tensor (..., C) of x's dtype.

Raises:
    ValueError: a shape does not fit.
    TypeError: a dtype is not float, or differs from x's.

Source: Zhang, Sennrich 2019, "Root Mean Square Layer Normalization", eq. 4.

Example:
    >>> pf.ops.rms_norm(pf.tensor([[3.0, -4.0]]))
    tensor([[ 0.8485281, -1.1313708]], dtype=float32))");
  ops.def(
      "group_norm",
      [](const Tensor& x, int64_t groups, const std::optional<Tensor>& weight, const std::optional<Tensor>& bias,
         double eps) { return group_norm(x, groups, or_absent(weight), or_absent(bias), eps); },
      py::arg("x"), py::arg("groups"), py::arg("weight") = py::none(), py::arg("bias") = py::none(),
      py::arg("eps") = 1e-5, NoGil(),
      R"(Normalises each group of channels of each picture to mean 0 and variance 1, then scales and shifts each channel.

Of equal, far, huge and tiny numbers: as in `layer_norm`.

Args:
    x: (N, C, ...), float.
    groups: divides C; 1 normalises all channels together, C each by itself.
    weight, bias: (C,), x's dtype, or None for ones and zeros.
    eps: added to the variance.

Returns:
    Tensor (N, C, ...) of x's dtype.

Raises:
    ValueError: a shape does not fit, or groups does not divide C.
    TypeError: a dtype is not float, or differs from x's.

Source: Wu, He 2018, "Group Normalization", eq. 1 to 3.

Example:
    >>> x = pf.tensor([[[1.0, 3.0], [10.0, 30.0]]])  # one picture of 2 channels
    >>> pf.ops.group_norm(x, groups=2)
    tensor([[[-0.999995,  0.999995],
             [-1.      ,  1.      ]]], dtype=float32))");
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
      R"(Normalises each channel over all pictures and positions, then scales and shifts it.

Of equal, far, huge and tiny numbers: as in `layer_norm`. A variance that x's dtype cannot hold is infinite in
running_var.

Args:
    x: (N, C, ...), float.
    running_mean, running_var: (C,), x's dtype, or None. In training they are written in place: (1 - momentum) *
        running + momentum * new, the new variance divided by count - 1. Otherwise they normalise, and must be given.
    weight, bias: (C,), x's dtype, or None for ones and zeros.
    training: normalise by x's own statistics.
    momentum: how much of a batch's statistics goes into the running ones, 0 to 1.
    eps: added to the variance.

Returns:
    Tensor (N, C, ...) of x's dtype.

Raises:
    ValueError: a shape or option does not fit.
    TypeError: a dtype is not float, or differs from x's.

Source: Ioffe, Szegedy 2015, "Batch Normalization", algorithms 1 and 2.

Example:
    >>> x, mean, variance = pf.tensor([[1.0], [3.0]]), pf.zeros(1), pf.ones(1)
    >>> pf.ops.batch_norm(x, mean, variance, training=True)
    tensor([[-0.999995],
            [ 0.999995]], dtype=float32)
    >>> mean, variance
    (tensor([0.2], dtype=float32), tensor([1.1], dtype=float32)))");
}

}  // namespace pyformer::bindings
