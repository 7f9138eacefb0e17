// Convolutions and pooling.
#include "bindings.h"
#include "pyformer/ops/conv/conv.h"
#include "pyformer/ops/pool/pool.h"

namespace pyformer::bindings {

// An argument that is one int for both axes, or a pair (rows, columns).
static void read_pair(const char* op, const char* what, const py::object& value, int64_t (&pair)[2]) {
  const std::string expected = std::string("an int or a pair of ints for ") + what;
  if (PyIndex_Check(value.ptr()))
    pair[0] = pair[1] = argument<int64_t>(op, expected.c_str(), value);
  else
    std::tie(pair[0], pair[1]) = argument<std::pair<int64_t, int64_t>>(op, expected.c_str(), value);
}

static ConvOptions conv_options(const char* op, const py::object& stride, const py::object& padding,
                                const py::object& dilation, int64_t groups) {
  ConvOptions options;
  read_pair(op, "stride", stride, options.stride);
  read_pair(op, "padding", padding, options.padding);
  read_pair(op, "dilation", dilation, options.dilation);
  options.groups = groups;
  return options;
}

static Tensor conv1d_of(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, int64_t stride,
                        int64_t padding, int64_t dilation, int64_t groups) {
  return conv1d(x, weight, or_absent(bias), {{stride, 1}, {padding, 0}, {dilation, 1}, {0, 0}, groups});
}

static Tensor conv2d_of(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias,
                        const py::object& stride, const py::object& padding, const py::object& dilation,
                        int64_t groups) {
  const ConvOptions options = conv_options("conv2d", stride, padding, dilation, groups);
  ReleaseGil release;
  return conv2d(x, weight, or_absent(bias), options);
}

static Tensor conv_transpose2d_of(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias,
                                  const py::object& stride, const py::object& padding, const py::object& output_padding,
                                  int64_t groups, const py::object& dilation) {
  ConvOptions options = conv_options("conv_transpose2d", stride, padding, dilation, groups);
  read_pair("conv_transpose2d", "output_padding", output_padding, options.output_padding);
  ReleaseGil release;
  return conv_transpose2d(x, weight, or_absent(bias), options);
}

template <Tensor (*pool)(const Tensor&, const PoolOptions&)>
static Tensor pool_of(const char* op, const Tensor& x, const py::object& kernel, const py::object& stride,
                      const py::object& padding) {
  PoolOptions options;
  read_pair(op, "kernel", kernel, options.kernel);
  read_pair(op, "stride", stride.is_none() ? kernel : stride, options.stride);
  read_pair(op, "padding", padding, options.padding);
  ReleaseGil release;
  return pool(x, options);
}

static void bind_pooling(py::module_& ops) {
  ops.def(
      "max_pool2d",
      [](const Tensor& x, const py::object& kernel, const py::object& stride, const py::object& padding) {
        return pool_of<max_pool2d>("max_pool2d", x, kernel, stride, padding);
      },
      py::arg("x"), py::arg("kernel"), py::arg("stride") = py::none(), py::arg("padding") = 0,
      R"(The largest element of each window of a picture; NaN wins. Of equal elements the first gets the gradient.

Args:
    x: (N, C, H, W), float.
    kernel: the window, an integer or a pair (rows, columns).
    stride: an integer or a pair; None means the kernel.
    padding: an integer or a pair, at most half the kernel; the padding is never the largest.

Returns:
    Tensor (N, C, (H + 2 padding - KH) // stride + 1, ...) of x's dtype.

Raises:
    ValueError: shapes or options do not fit, or no output is left.
    TypeError: x is not a float tensor, or an option is no integer or pair.

Example:
    >>> x = pf.arange(16, dtype="float32").reshape(1, 1, 4, 4)
    >>> pf.ops.max_pool2d(x, 2)
    tensor([[[[ 5.,  7.],
              [13., 15.]]]], dtype=float32))");
  ops.def(
      "avg_pool2d",
      [](const Tensor& x, const py::object& kernel, const py::object& stride, const py::object& padding) {
        return pool_of<avg_pool2d>("avg_pool2d", x, kernel, stride, padding);
      },
      py::arg("x"), py::arg("kernel"), py::arg("stride") = py::none(), py::arg("padding") = 0,
      R"(The mean of each window of a picture; what lies in the padding counts as 0 and is counted.

Args:
    x: (N, C, H, W), float.
    kernel: the window, an integer or a pair (rows, columns).
    stride: an integer or a pair; None means the kernel.
    padding: an integer or a pair, at most half the kernel.

Returns:
    Tensor (N, C, (H + 2 padding - KH) // stride + 1, ...) of x's dtype.

Raises:
    ValueError: shapes or options do not fit, or no output is left.
    TypeError: x is not a float tensor, or an option is no integer or pair.

Example:
    >>> x = pf.arange(16, dtype="float32").reshape(1, 1, 4, 4)
    >>> pf.ops.avg_pool2d(x, 2)
    tensor([[[[ 2.5,  4.5],
              [10.5, 12.5]]]], dtype=float32))");
}

void bind_convolution(py::module_& ops) {
  ops.def("conv1d", &conv1d_of, py::arg("x"), py::arg("weight"), py::arg("bias") = py::none(), py::arg("stride") = 1,
          py::arg("padding") = 0, py::arg("dilation") = 1, py::arg("groups") = 1, NoGil(),
          R"(Convolution over time.

out[n, o, t] = bias[o] + sum over c, k of weight[o, c, k] * x[n, c, t stride - padding + k dilation].

Args:
    x: (N, C, T), float; what lies outside counts as 0, a number like others: times an infinite weight, or in the
        weight's gradient times an infinite gradient, it is NaN, as after `pad`.
    weight: (O, C / groups, K), x's dtype.
    bias: (O,), x's dtype, or None.
    stride, padding, dilation: integers.
    groups: divides C and O; group g of C makes group g of O.

Returns:
    Tensor (N, O, (T + 2 padding - dilation (K - 1) - 1) // stride + 1) of x's dtype.

Raises:
    ValueError: shapes or options do not fit, or no output is left.
    TypeError: a dtype is not float, or differs from x's.

Example:
    >>> x, weight = pf.tensor([[[1.0, 2.0, 4.0, 8.0]]]), pf.tensor([[[-1.0, 1.0]]])
    >>> pf.ops.conv1d(x, weight)
    tensor([[[1., 2., 4.]]], dtype=float32))");
  ops.def("conv2d", &conv2d_of, py::arg("x"), py::arg("weight"), py::arg("bias") = py::none(), py::arg("stride") = 1,
          py::arg("padding") = 0, py::arg("dilation") = 1, py::arg("groups") = 1,
          R"(Convolution over pictures; what lies outside x counts as 0.

Args:
    x: (N, C, H, W), float; the zeros around it are numbers like others: times an infinite weight, or in the
        weight's gradient times an infinite gradient, they are NaN, as after `pad`.
    weight: (O, C / groups, KH, KW), x's dtype.
    bias: (O,), x's dtype, or None.
    stride, padding, dilation: an integer, or a pair (rows, columns).
    groups: divides C and O; group g of C makes group g of O.

Returns:
    Tensor (N, O, OH, OW) of x's dtype with OH = (H + 2 padding - dilation (KH - 1) - 1) // stride + 1, OW likewise.

Raises:
    ValueError: shapes or options do not fit, or no output is left.
    TypeError: a dtype is not float, or differs from x's.

Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition".

Example:
    >>> x = pf.arange(9, dtype="float32").reshape(1, 1, 3, 3)
    >>> pf.ops.conv2d(x, pf.ones(1, 1, 2, 2))
    tensor([[[[ 8., 12.],
              [20., 24.]]]], dtype=float32))");
  ops.def("conv_transpose2d", &conv_transpose2d_of, py::arg("x"), py::arg("weight"), py::arg("bias") = py::none(),
          py::arg("stride") = 1, py::arg("padding") = 0, py::arg("output_padding") = 0, py::arg("groups") = 1,
          py::arg("dilation") = 1,
          R"(The transpose of conv2d as a linear map: what conv2d's gradient does to x, as an operation.

Args:
    x: (N, C, H, W), float.
    weight: (C, O / groups, KH, KW), x's dtype.
    bias: (O,), x's dtype, or None.
    stride, padding, output_padding, dilation: an integer, or a pair (rows, columns). output_padding adds rows and
        columns at the end, where several sizes of x would have given the same.
    groups: divides C and O.

Returns:
    Tensor (N, O, OH, OW) of x's dtype with OH = (H - 1) stride - 2 padding + dilation (KH - 1) + output_padding + 1.
    Each element is the sum of what there is for it; unlike conv2d's, there are no zeros around x.

Raises:
    ValueError: shapes or options do not fit, or no output is left.
    TypeError: a dtype is not float, or differs from x's.

Example:
    >>> x = pf.tensor([[[[1.0, 2.0]]]])
    >>> pf.ops.conv_transpose2d(x, pf.ones(1, 1, 1, 2), stride=(1, 2))
    tensor([[[[1., 1., 2., 2.]]]], dtype=float32))");
  bind_pooling(ops);
}

}  // namespace pyformer::bindings
