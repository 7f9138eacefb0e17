// matmul, linear and what is fused around it, and linear with its weight packed once.
#include "bindings.h"
#include "ops_elementwise.h"
#include "pyformer/ops/linear/linear.h"
#include "pyformer/ops/matmul/matmul.h"
#include "pyformer/ops/mlp/mlp.h"
#include "pyformer/ops/norm_linear/norm_linear.h"

namespace pyformer::bindings {

static Tensor linear_of(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias,
                        const std::optional<std::string>& activation, const std::optional<Tensor>& residual) {
  return linear(x, weight, or_absent(bias), activation_from_name(activation.value_or("none")), or_absent(residual));
}

using Optional = std::optional<Tensor>;

static Tensor norm_linear_of(const Tensor& x, const Optional& norm_weight, const Optional& norm_bias,
                             const Tensor& weight, const Optional& bias, const std::string& norm, double eps) {
  return norm_linear({norm_kind_from_name(norm), eps}, x, or_absent(norm_weight), or_absent(norm_bias), weight,
                     or_absent(bias));
}

static Tensor mlp_of(const Tensor& x, const Tensor& up, const Optional& up_bias, const Tensor& down,
                     const Optional& down_bias, const std::string& activation, const std::string& norm,
                     const Optional& norm_weight, const Optional& norm_bias, double eps, const Optional& residual) {
  return mlp({x, or_absent(norm_weight), or_absent(norm_bias), up, or_absent(up_bias), down, or_absent(down_bias),
              or_absent(residual)},
             {norm_kind_from_name(norm), eps}, activation_from_name(activation));
}

static Tensor packed_linear_of(PackedLinear& packed, const Tensor& x, const std::optional<std::string>& activation,
                               const std::optional<Tensor>& residual) {
  const Tensor added = or_absent(residual);
  if (needs_recording({x, added}))
    throw std::runtime_error("linear: a packed weight is for inference; use it within no_grad()");
  return no_gradient(packed(x.array(), activation_from_name(activation.value_or("none")), added.array()));
}

static void bind_packed_linear(py::module_& core) {
  py::class_<PackedLinear> cls(core, "PackedLinear",
                               "A weight and bias kept in the layout that many small products read fastest.");
  cls.def(py::init([](const Tensor& weight, const std::optional<Tensor>& bias) {
            return std::make_unique<PackedLinear>(weight.array(), or_absent(bias).array());
          }),
          py::arg("weight"), py::arg("bias") = py::none())
      .def("__call__", &packed_linear_of, py::arg("x"), py::arg("activation") = py::none(),
           py::arg("residual") = py::none(), NoGil(), "linear(x, weight, bias), the same bits; no gradient.")
      .def(
          "holds",
          [](const PackedLinear& packed, const Tensor& weight, const std::optional<Tensor>& bias) {
            return packed.holds(weight.array(), or_absent(bias).array());
          },
          py::arg("weight"), py::arg("bias") = py::none(), "Whether it was made of these very tensors.");
  reinterpret_cast<PyTypeObject*>(cls.ptr())->tp_new = &new_for_call;
}

// a @ b, where either may be anything that becomes a tensor.
static py::object matmul_operator(const Tensor& a, const py::object& b, bool reflected) {
  if (!py::isinstance<Tensor>(b) && !py::isinstance<py::array>(b))
    return py::reinterpret_borrow<py::object>(Py_NotImplemented);
  const Tensor other = tensor_sharing(b);
  return py::cast([&] {
    ReleaseGil release;
    return reflected ? matmul(other, a) : matmul(a, other);
  }());
}

void bind_tensor_matmul(py::class_<Tensor>& cls) {
  cls.def("__matmul__", [](const Tensor& a, const py::object& b) { return matmul_operator(a, b, false); })
      .def("__rmatmul__", [](const Tensor& a, const py::object& b) { return matmul_operator(a, b, true); });
}

void bind_matmul(py::module_& core, py::module_& ops) {
  bind_packed_linear(core);
  ops.def("matmul", &matmul, py::arg("a"), py::arg("b"), py::arg("transpose_a") = false, py::arg("transpose_b") = false,
          NoGil(), R"(The matrix product, batched and broadcast as numpy.matmul.

a: (..., m, k), b: (..., k, n), float32 or float64 alike; a flag swaps its operand's last two axes first.
A 1-D operand is a row (a) or a column (b), whose axis the result lacks. Returns (..., m, n).
Raises ValueError where the shapes do not fit, TypeError for a wrong dtype.)");
  ops.def("linear", &linear_of, py::arg("x"), py::arg("weight"), py::arg("bias") = py::none(),
          py::arg("activation") = py::none(), py::arg("residual") = py::none(), NoGil(),
          R"(activation(x @ weight.T + bias) + residual, in one pass over the result.

x: (..., C), weight: (N, C), bias: (N,) or None, residual: (..., N) or None, float32 or float64 alike.
activation: None, "gelu", "gelu_tanh", "relu" or "silu". Returns (..., N).
Raises ValueError where shapes do not fit or for an unknown activation, TypeError for a wrong dtype.)");
  ops.def("norm_linear", &norm_linear_of, py::arg("x"), py::arg("norm_weight"), py::arg("norm_bias"), py::arg("weight"),
          py::arg("bias") = py::none(), py::arg("norm") = "layer", py::arg("eps") = 1e-5, NoGil(),
          R"(linear(norm(x), weight, bias), which keeps only x for backward.

x: (..., C), norm_weight: (C,) or None, norm_bias: (C,) or None, weight: (N, C), bias: (N,) or None, float32 or float64
alike. norm: "layer", "rms" or "none". Returns (..., N), the bits of the ops one by one.
Raises ValueError where shapes do not fit or for an unknown norm, TypeError for a wrong dtype.)");
  ops.def("mlp", &mlp_of, py::arg("x"), py::arg("up"), py::arg("up_bias"), py::arg("down"), py::arg("down_bias"),
          py::arg("activation") = "gelu", py::arg("norm") = "none", py::arg("norm_weight") = py::none(),
          py::arg("norm_bias") = py::none(), py::arg("eps") = 1e-5, py::arg("residual") = py::none(), NoGil(),
          R"(linear(activation(linear(norm(x), up, up_bias)), down, down_bias) + residual: half of a transformer block.

x: (..., C), up: (F, C), up_bias: (F,) or None, down: (N, F), down_bias: (N,) or None, residual: (..., N) or None,
norm_weight and norm_bias: (C,) or None, float32 or float64 alike. activation: "gelu", "gelu_tanh", "relu", "silu" or
"none"; norm: "none", "layer" or "rms". Returns (..., N), the bits of the ops one by one; keeps x and the value before
the activation for backward.
Raises ValueError where shapes do not fit or for an unknown name, TypeError for a wrong dtype.
Source: Vaswani et al. 2017, "Attention Is All You Need", eq. 2.)");
}

}  // namespace pyformer::bindings
