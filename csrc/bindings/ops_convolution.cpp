// Convolutions and pooling.
#include "bindings.h"
#include "pyformer/ops/conv/conv.h"
#include "pyformer/ops/pool/pool.h"

namespace pyformer::bindings {

// An int for both axes or a pair (rows, columns).
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
      R"(The largest element of each window of a picture; NaN wins, of equal elements the first gets the gradient.

x: (N, C, H, W), float32 or float64. kernel, stride (None: the kernel), padding (at most half the kernel): an int, or a
pair (rows, columns). Returns (N, C, (H + 2 padding - KH) // stride + 1, ...).
Raises ValueError for a wrong shape or option, TypeError for a wrong dtype.)");
  ops.def(
      "avg_pool2d",
      [](const Tensor& x, const py::object& kernel, const py::object& stride, const py::object& padding) {
        return pool_of<avg_pool2d>("avg_pool2d", x, kernel, stride, padding);
      },
      py::arg("x"), py::arg("kernel"), py::arg("stride") = py::none(), py::arg("padding") = 0,
      R"(The mean of each window of a picture; what lies in the padding counts as 0 and is counted.

x: (N, C, H, W), float32 or float64. kernel, stride (None: the kernel), padding (at most half the kernel): an int, or a
pair (rows, columns). Returns (N, C, (H + 2 padding - KH) // stride + 1, ...).
Raises ValueError for a wrong shape or option, TypeError for a wrong dtype.)");
}

void bind_convolution(py::module_& ops) {
  ops.def(
      "conv1d", &conv1d_of, py::arg("x"), py::arg("weight"), py::arg("bias") = py::none(), py::arg("stride") = 1,
      py::arg("padding") = 0, py::arg("dilation") = 1, py::arg("groups") = 1, NoGil(),
      R"(Convolution over time: out[n, o, t] = bias[o] + sum weight[o, c, k] * x[n, c, t * stride - padding + k * dilation].

x: (N, C, T), weight: (O, C / groups, K), bias: (O,) or None, float32 or float64 alike.
Returns (N, O, (T + 2 padding - dilation (K - 1) - 1) // stride + 1).
Raises ValueError where shapes do not fit or nothing is left, TypeError for a wrong dtype.)");
  ops.def("conv2d", &conv2d_of, py::arg("x"), py::arg("weight"), py::arg("bias") = py::none(), py::arg("stride") = 1,
          py::arg("padding") = 0, py::arg("dilation") = 1, py::arg("groups") = 1,
          R"(Convolution over pictures; what lies outside x counts as 0.

x: (N, C, H, W), weight: (O, C / groups, KH, KW), bias: (O,) or None, float32 or float64 alike.
stride, padding, dilation: an int, or a pair (rows, columns). Group g of C makes group g of O.
Returns (N, O, OH, OW) with OH = (H + 2 padding - dilation (KH - 1) - 1) // stride + 1.
Raises ValueError where shapes do not fit or nothing is left, TypeError for a wrong dtype.
Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition".)");
  ops.def("conv_transpose2d", &conv_transpose2d_of, py::arg("x"), py::arg("weight"), py::arg("bias") = py::none(),
          py::arg("stride") = 1, py::arg("padding") = 0, py::arg("output_padding") = 0, py::arg("groups") = 1,
          py::arg("dilation") = 1,
          R"(The transpose of conv2d as a linear map: what conv2d's gradient does to x, as an operation.

x: (N, C, H, W), weight: (C, O / groups, KH, KW), bias: (O,) or None, float32 or float64 alike.
stride, padding, output_padding, dilation: an int, or a pair (rows, columns).
Returns (N, O, OH, OW) with OH = (H - 1) stride - 2 padding + dilation (KH - 1) + output_padding + 1.
Raises ValueError where shapes do not fit or nothing is left, TypeError for a wrong dtype.)");
  bind_pooling(ops);
}

}  // namespace pyformer::bindings
