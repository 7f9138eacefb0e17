// matmul, linear, the ops that fuse others with linear, and PackedLinear, which packs its weight once.
#include "bindings.h"
#include "operands.h"
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
            return std::make_unique<PackedLinear>(weight, or_absent(bias));
          }),
          py::arg("weight"), py::arg("bias") = py::none())
      .def("__call__", &packed_linear_of, py::arg("x"), py::arg("activation") = py::none(),
           py::arg("residual") = py::none(), NoGil(), "linear(x, weight, bias), the same bits; no gradient.");
  reinterpret_cast<PyTypeObject*>(cls.ptr())->tp_new = &new_for_call;
}

// a @ b, or b @ a where reflected. b is a tensor or a NumPy array; any other operand gives NotImplemented.
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
  core.def(
      "activations",
      [] {
        py::tuple names(kActivationCount);
        for (int i = 0; i < kActivationCount; ++i) names[size_t(i)] = name(Activation(i));
        return names;
      },
      "The names of the activations that linear and mlp apply; the first is none.");
  const std::string any_of = "activation: " + activation_names();
  ops.def("matmul", &matmul, py::arg("a"), py::arg("b"), py::arg("transpose_a") = false, py::arg("transpose_b") = false,
          NoGil(), R"(The matrix product a @ b, batched and broadcast as `numpy.matmul`.

Args:
    a: (..., m, k), float. A 1-D operand is a row, whose axis the result lacks.
    b: (..., k, n), a's dtype. A 1-D operand is a column, whose axis the result lacks.
    transpose_a, transpose_b: swap the last two axes of that operand first, at no cost.

Returns:
    Tensor (..., m, n) of a's dtype. Each sum over k is taken in one documented order, so an element has the same bits
    however many rows are computed with it.

Raises:
    ValueError: the shapes do not fit.
    TypeError: an operand is not float, or the dtypes differ.

Example:
    >>> a = pf.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> pf.ops.matmul(a, pf.tensor([[1.0], [10.0]]))
    tensor([[21.],
            [43.]], dtype=float32)
    >>> pf.ops.matmul(a, a, transpose_b=True)
    tensor([[ 5., 11.],
            [11., 25.]], dtype=float32))");
  ops.def("linear", &linear_of, py::arg("x"), py::arg("weight"), py::arg("bias") = py::none(),
          py::arg("activation") = py::none(), py::arg("residual") = py::none(), NoGil(),
          cat(R"(activation(x @ weight.T + bias) + residual, in one pass over the result.

Args:
    x: (..., C), float.
    weight: (N, C), x's dtype.
    bias: (N,), x's dtype, or None.
    )",
              any_of, R"(; None is none.
    residual: (..., N), x's dtype, or None.

Returns:
    Tensor (..., N) of x's dtype. Of float32 and float64 it has the bits of the operations one by one; of bfloat16 and
    float16 it is rounded once, at the end, where they round each.

Raises:
    ValueError: a shape does not fit, or the activation is not known.
    TypeError: a dtype is not float, or differs from x's.

Example:
    >>> x, weight = pf.tensor([[1.0, -2.0]]), pf.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> pf.ops.linear(x, weight, activation="relu")
    tensor([[1., 0., 0.]], dtype=float32)
    >>> pf.ops.linear(x, weight, bias=pf.tensor([1.0, 2.0]))
    Traceback (most recent call last):
        ...
    ValueError: linear: bias must be (N,) = (3,), got (2,))")
              .c_str());
  ops.def("norm_linear", &norm_linear_of, py::arg("x"), py::arg("norm_weight"), py::arg("norm_bias"), py::arg("weight"),
          py::arg("bias") = py::none(), py::arg("norm") = "layer", py::arg("eps") = 1e-5, NoGil(),
          R"(linear(norm(x), weight, bias), which keeps only x for backward and normalises again there.

Args:
    x: (..., C), float.
    norm_weight, norm_bias: (C,), x's dtype, or None; "rms" has no bias.
    weight: (N, C), x's dtype.
    bias: (N,), x's dtype, or None.
    norm: "layer" (`layer_norm`), "rms" (`rms_norm`) or "none".
    eps: added to the variance or mean square.

Returns:
    Tensor (..., N) of x's dtype, the bits of the norm and `linear` one by one.

Raises:
    ValueError: a shape does not fit, or the norm is not known.
    TypeError: a dtype is not float, or differs from x's.

Example:
    >>> x, weight = pf.tensor([[1.0, 3.0]]), pf.tensor([[1.0, 1.0], [0.0, 2.0]])
    >>> pf.ops.norm_linear(x, None, None, weight, None)
    tensor([[0.     , 1.99999]], dtype=float32))");
  ops.def(
      "mlp", &mlp_of, py::arg("x"), py::arg("up"), py::arg("up_bias"), py::arg("down"), py::arg("down_bias"),
      py::arg("activation") = "gelu", py::arg("norm") = "none", py::arg("norm_weight") = py::none(),
      py::arg("norm_bias") = py::none(), py::arg("eps") = 1e-5, py::arg("residual") = py::none(), NoGil(),
      cat(R"(linear(activation(linear(norm(x), up, up_bias)), down, down_bias) + residual: half of a transformer block.

Args:
    x: (..., C), float.
    up: (F, C), x's dtype.
    up_bias: (F,), x's dtype, or None.
    down: (N, F), x's dtype.
    down_bias: (N,), x's dtype, or None.
    )",
          any_of, R"(.
    norm: "none", "layer" or "rms".
    norm_weight, norm_bias: (C,), x's dtype, or None.
    eps: added to the variance or mean square.
    residual: (..., N), x's dtype, or None.

Returns:
    Tensor (..., N) of x's dtype, with the bits of a norm and two calls of `linear`, one with the activation and one
    with the residual. Backward keeps x and the value before the activation, and computes the rest again.

Raises:
    ValueError: a shape does not fit, or a name is not known.
    TypeError: a dtype is not float, or differs from x's.

Source: Vaswani et al. 2017, "Attention Is All You Need", eq. 2.

Example:
    >>> x = pf.tensor([[1.0, -1.0]])
    >>> up, down = pf.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), pf.tensor([[1.0, 2.0, 3.0]])
    >>> pf.ops.mlp(x, up, None, down, None, activation="relu")
    tensor([[1.]], dtype=float32))")
          .c_str());
}

}  // namespace pyformer::bindings
