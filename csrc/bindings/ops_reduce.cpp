// Reductions, softmax and the losses.
#include <variant>

#include "bindings.h"
#include "pyformer/ops/bce_with_logits/bce_with_logits.h"
#include "pyformer/ops/cast/cast.h"
#include "pyformer/ops/cross_entropy/cross_entropy.h"
#include "pyformer/ops/linear_cross_entropy/linear_cross_entropy.h"
#include "pyformer/ops/mse_loss/mse_loss.h"
#include "pyformer/ops/reduce/reduce.h"
#include "pyformer/ops/softmax/softmax.h"
#include "pyformer/ops/topk/topk.h"

namespace pyformer::bindings {

using AxisArgument = std::optional<std::variant<int64_t, std::vector<int64_t>>>;

static Axes axes_of(const AxisArgument& axis) {
  if (!axis) return std::nullopt;
  if (const int64_t* one = std::get_if<int64_t>(&*axis)) return std::vector<int64_t>{*one};
  return std::get<std::vector<int64_t>>(*axis);
}

template <Tensor (*reduce)(const Tensor&, const Axes&, bool)>
static Tensor over_axes(const Tensor& x, const AxisArgument& axis, bool keepdims) {
  return reduce(x, axes_of(axis), keepdims);
}

// Integers and bools are averaged in float64 and rounded once to float32.
static Tensor mean_over(const Tensor& x, const AxisArgument& axis, bool keepdims) {
  if (is_float(x.dtype())) return mean(x, axes_of(axis), keepdims);
  return cast(mean(cast(x, DType::float64), axes_of(axis), keepdims), DType::float32);
}

static CrossEntropyOptions loss_options(const char* op, int64_t ignore_index, const std::string& reduction,
                                        double label_smoothing) {
  return {ignore_index, reduction_from_name(op, reduction), label_smoothing};
}

// Defines the reductions either as functions, pf.ops.sum(x, ...), or as methods, x.sum(...), with the same arguments.
template <class Target>
static void define_reductions(Target& target, const std::vector<py::arg>& first) {
  const auto define = [&](const char* name, auto function, const char* doc, auto... arguments) {
    if constexpr (std::is_same_v<Target, py::module_>)
      target.def(name, function, first[0], arguments..., NoGil(), doc);
    else
      target.def(name, function, arguments..., NoGil(), doc);
  };
  const py::arg_v axis = py::arg("axis") = py::none(), last = py::arg("axis") = -1,
                  keepdims = py::arg("keepdims") = false;
  define("sum", &over_axes<sum>,
         R"(The sum over one or more axes.

Args:
    x: (...), float, integer or bool.
    axis: an int, a tuple of ints, or None for all axes; negative ones count from the end.
    keepdims: keep the reduced axes with extent 1.

Returns:
    Tensor without the reduced axes: floats keep their dtype, integers and bools sum to int64, which wraps.

Raises:
    IndexError: an axis is not there.
    ValueError: an axis is given twice.
    TypeError: x is of another dtype.

Example:
    >>> x = pf.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> x.sum(), x.sum(axis=0)
    (tensor(10., dtype=float32), tensor([4., 6.], dtype=float32))
    >>> x.sum(axis=1, keepdims=True)
    tensor([[3.],
            [7.]], dtype=float32))",
         axis, keepdims);
  define("mean", &mean_over,
         R"(The mean over one or more axes; NaN over none.

Args:
    x: (...), float, integer or bool.
    axis: an int, a tuple of ints, or None for all axes; negative ones count from the end.
    keepdims: keep the reduced axes with extent 1.

Returns:
    Tensor without the reduced axes: floats keep their dtype, means of integers and bools are float32.

Raises:
    IndexError: an axis is not there.
    ValueError: an axis is given twice.
    TypeError: an axis is no int.

Example:
    >>> pf.tensor([[1.0, 2.0], [3.0, 4.0]]).mean(axis=-1)
    tensor([1.5, 3.5], dtype=float32))",
         axis, keepdims);
  define("max", &over_axes<max>,
         R"(The largest element over one or more axes; NaN wins. The gradient goes to the first of equal elements.

Args:
    x: (...), float, integer or bool.
    axis: an int, a tuple of ints, or None for all axes; negative ones count from the end.
    keepdims: keep the reduced axes with extent 1.

Returns:
    Tensor without the reduced axes, x's dtype; `argmax` gives the index.

Raises:
    IndexError: an axis is not there.
    ValueError: a reduced axis has no elements, or is given twice.
    TypeError: x is of another dtype.

Example:
    >>> pf.tensor([[1.0, 5.0], [3.0, 4.0]]).max(axis=1)
    tensor([5., 4.], dtype=float32))",
         axis, keepdims);
  define("min", &over_axes<min>,
         R"(The smallest element over one or more axes; NaN wins. The gradient goes to the first of equal elements.

Args:
    x: (...), float, integer or bool.
    axis: an int, a tuple of ints, or None for all axes; negative ones count from the end.
    keepdims: keep the reduced axes with extent 1.

Returns:
    Tensor without the reduced axes, x's dtype; `argmin` gives the index.

Raises:
    IndexError: an axis is not there.
    ValueError: a reduced axis has no elements, or is given twice.
    TypeError: x is of another dtype.

Example:
    >>> pf.tensor([[1.0, 5.0], [3.0, 4.0]]).min(axis=1)
    tensor([1., 3.], dtype=float32))",
         axis, keepdims);
  define("argmax", &argmax, R"(The index of the first largest element along an axis; NaN counts as largest.

Args:
    x: (...), float, integer or bool.
    axis: an int, negative ones count from the end; None indexes the flattened tensor.
    keepdims: keep the reduced axis with extent 1.

Returns:
    Tensor of int64 without the reduced axis. It has no gradient.

Raises:
    IndexError: the axis is not there.
    ValueError: the axis has no elements.
    TypeError: x is of another dtype.

Example:
    >>> pf.tensor([[1.0, 5.0], [3.0, 3.0]]).argmax(axis=1)
    tensor([1, 0], dtype=int64))",
         axis, keepdims);
  define("argmin", &argmin, R"(The index of the first smallest element along an axis; NaN counts as smallest.

Args:
    x: (...), float, integer or bool.
    axis: an int, negative ones count from the end; None indexes the flattened tensor.
    keepdims: keep the reduced axis with extent 1.

Returns:
    Tensor of int64 without the reduced axis. It has no gradient.

Raises:
    IndexError: the axis is not there.
    ValueError: the axis has no elements.
    TypeError: x is of another dtype.

Example:
    >>> pf.tensor([[1.0, 5.0], [3.0, 3.0]]).argmin(axis=1)
    tensor([0, 0], dtype=int64))",
         axis, keepdims);
  define("softmax", &softmax,
         R"(exp(x) / sum(exp(x)) along an axis, computed without overflow.

Args:
    x: (...), float.
    axis: an int, negative ones count from the end.

Returns:
    Tensor of x's shape and dtype. Elements of -inf give 0; where all are -inf, NaN.

Raises:
    IndexError: the axis is not there.
    TypeError: x is not a float tensor.

Example:
    >>> pf.tensor([0.0, 0.0, float("-inf")]).softmax()
    tensor([0.5, 0.5, 0. ], dtype=float32))",
         last);
  define("log_softmax", &log_softmax, R"(log(softmax(x)) along an axis, x - log(sum(exp(x))), computed without overflow.

Args:
    x: (...), float.
    axis: an int, negative ones count from the end.

Returns:
    Tensor of x's shape and dtype.

Raises:
    IndexError: the axis is not there.
    TypeError: x is not a float tensor.

Example:
    >>> pf.tensor([[0.0, 0.0], [100.0, 0.0]]).log_softmax()
    tensor([[  -0.6931472,   -0.6931472],
            [   0.       , -100.       ]], dtype=float32))",
         last);
}

void bind_tensor_reductions(py::class_<Tensor>& cls) {
  define_reductions(cls, {});
  cls.def("cumsum", &cumsum, py::arg("axis"), NoGil(), R"(Running sums along an axis, as `pf.ops.cumsum`.

Args:
    axis: an int, negative ones count from the end.

Returns:
    Tensor of this shape: floats keep their dtype, integers and bools sum to int64.

Raises:
    IndexError: the axis is not there.
    TypeError: the dtype has no sum.

Example:
    >>> pf.tensor([1, 2, 3]).cumsum(0)
    tensor([1, 3, 6], dtype=int64))");
}

static void bind_losses(py::module_& ops) {
  ops.def(
      "cross_entropy",
      [](const Tensor& logits, const Tensor& targets, int64_t ignore_index, const std::string& reduction,
         double label_smoothing) {
        return cross_entropy(logits, targets, loss_options("cross_entropy", ignore_index, reduction, label_smoothing));
      },
      py::arg("logits"), py::arg("targets"), py::arg("ignore_index") = -100, py::arg("reduction") = "mean",
      py::arg("label_smoothing") = 0.0, NoGil(),
      R"(-log softmax(logits)[target] of each row, in nats: averaged, summed or listed.

Args:
    logits: (..., V), float.
    targets: (...), integer.
    ignore_index: rows with this target count neither in the sum nor in the number.
    reduction: "mean" or "sum" give a scalar, "none" a value a row.
    label_smoothing: the part e of the target's probability that is spread over all V classes: the loss is (1 - e)
        times the above plus e times the mean over the classes; 0 <= e <= 1.

Returns:
    Tensor () or (...) of the logits' dtype. Where all rows are ignored, 0 and zero gradients.

Raises:
    ValueError: a shape or option does not fit.
    TypeError: logits are not float, or targets are not integers.
    IndexError: a target is outside 0 ... V - 1 and is not `ignore_index`.

Example:
    >>> logits = pf.tensor([[2.0, 0.0], [0.0, 0.0]])
    >>> pf.ops.cross_entropy(logits, pf.tensor([0, 1]), reduction="none")
    tensor([0.12692805, 0.6931472 ], dtype=float32)
    >>> pf.ops.cross_entropy(logits, pf.tensor([0, 2]))
    Traceback (most recent call last):
        ...
    IndexError: cross_entropy: targets[1] is 2, expected 0 <= target < 2 or ignore_index = -100)");
  ops.def(
      "linear_cross_entropy",
      [](const Tensor& x, const Tensor& weight, const Tensor& targets, const std::optional<Tensor>& bias,
         int64_t ignore_index, const std::string& reduction, double label_smoothing) {
        return linear_cross_entropy(x, weight, targets, or_absent(bias),
                                    loss_options("linear_cross_entropy", ignore_index, reduction, label_smoothing));
      },
      py::arg("x"), py::arg("weight"), py::arg("targets"), py::arg("bias") = py::none(), py::arg("ignore_index") = -100,
      py::arg("reduction") = "mean", py::arg("label_smoothing") = 0.0, NoGil(),
      R"(cross_entropy(linear(x, weight, bias), targets), which never holds all logits: for large vocabularies.

Args:
    x: (..., C), float.
    weight: (V, C), x's dtype.
    targets: (...), integer.
    bias: (V,), x's dtype, or None.
    ignore_index, reduction, label_smoothing: as in `cross_entropy`; rows that are ignored count for nothing in any
        gradient, whatever x holds there.

Returns:
    Tensor () or (...) of x's dtype.

Raises:
    ValueError: a shape or option does not fit.
    TypeError: a dtype does not fit.
    IndexError: a target is outside 0 ... V - 1 and is not `ignore_index`.

Example:
    >>> x, weight = pf.tensor([[1.0, 0.0]]), pf.tensor([[2.0, 0.0], [0.0, 2.0]])
    >>> pf.ops.linear_cross_entropy(x, weight, pf.tensor([0]))
    tensor(0.12692805, dtype=float32))");
  ops.def(
      "mse_loss",
      [](const Tensor& x, const Tensor& target, const std::string& reduction) {
        return mse_loss(x, target, reduction_from_name("mse_loss", reduction));
      },
      py::arg("x"), py::arg("target"), py::arg("reduction") = "mean", NoGil(),
      R"((x - target)^2, averaged, summed or listed.

Args:
    x, target: (...), of one shape and one float dtype.
    reduction: "mean" or "sum" give a scalar, of nothing 0; "none" x's shape.

Returns:
    Tensor () or (...) of x's dtype.

Raises:
    ValueError: the shapes differ, or the reduction is not known.
    TypeError: a dtype is not float, or they differ.

Example:
    >>> pf.ops.mse_loss(pf.tensor([1.0, 2.0]), pf.tensor([1.0, 4.0]))
    tensor(2., dtype=float32))");
  ops.def(
      "bce_with_logits",
      [](const Tensor& x, const Tensor& target, const std::string& reduction) {
        return bce_with_logits(x, target, reduction_from_name("bce_with_logits", reduction));
      },
      py::arg("x"), py::arg("target"), py::arg("reduction") = "mean", NoGil(),
      R"(Binary cross-entropy: -target log(p) - (1 - target) log(1 - p) with p = sigmoid(x); averaged, summed or listed.

Args:
    x: (...), float, any numbers.
    target: x's shape and dtype, from 0 to 1.
    reduction: "mean" or "sum" give a scalar, of nothing 0; "none" x's shape.

Returns:
    Tensor () or (...) of x's dtype, in nats.

Raises:
    ValueError: the shapes differ, or the reduction is not known.
    TypeError: a dtype is not float, or they differ.

Example:
    >>> x, target = pf.tensor([0.0, 3.0]), pf.tensor([1.0, 0.0])
    >>> pf.ops.bce_with_logits(x, target, reduction="none")
    tensor([0.6931472, 3.0485873], dtype=float32))");
}

void bind_reduce(py::module_& ops) {
  define_reductions(ops, {py::arg("x")});
  ops.def(
      "cumsum", &cumsum, py::arg("x"), py::arg("axis"), NoGil(),
      R"(Running sums along an axis, as exact as those of `sum`: each is the sum of its chain of 256 elements so far plus
that of the chains before, which are added in a binary tree.

Args:
    x: (...), float, integer or bool.
    axis: an int, negative ones count from the end.

Returns:
    Tensor of x's shape: floats keep their dtype, integers and bools sum to int64.

Raises:
    IndexError: the axis is not there.
    TypeError: x is of another dtype.

Example:
    >>> pf.ops.cumsum(pf.tensor([[1, 2, 3], [4, 5, 6]]), axis=1)
    tensor([[ 1,  3,  6],
            [ 4,  9, 15]], dtype=int64))");
  ops.def(
      "topk",
      [](const Tensor& x, int64_t k, int64_t axis) {
        TopkTensors r = topk(x, k, axis);
        return std::pair(r.values, r.indices);
      },
      py::arg("x"), py::arg("k"), py::arg("axis") = -1, NoGil(),
      R"(The k largest elements along an axis, largest first, and where they are.

NaN is larger than anything; of equal elements the lower index comes first.

Args:
    x: (...), float or integer.
    k: how many, from 0 to the axis' extent.
    axis: an int, negative ones count from the end.

Returns:
    (values, indices): Tensors of x's shape with extent k at the axis; values of x's dtype, indices int64 and without
    a gradient.

Raises:
    ValueError: k is out of range.
    IndexError: the axis is not there.
    TypeError: x is of another dtype.

Example:
    >>> values, indices = pf.ops.topk(pf.tensor([1.0, 7.0, 5.0]), 2)
    >>> values, indices
    (tensor([7., 5.], dtype=float32), tensor([1, 2], dtype=int64)))");
  bind_losses(ops);
}

}  // namespace pyformer::bindings
