// Reductions, softmax and the losses.
#include <variant>

#include "bindings.h"
#include "pyformer/ops/bce_with_logits/bce_with_logits.h"
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

static CrossEntropyOptions loss_options(const char* op, int64_t ignore_index, const std::string& reduction,
                                        double label_smoothing) {
  return {ignore_index, reduction_from_name(op, reduction), label_smoothing};
}

// The same functions with the same arguments, as pf.ops.sum(x, ...) and x.sum(...).
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
         "The sum over axis: an int, a tuple of ints, or None for all axes. Integers and booleans sum to int64.\n\n"
         "Raises IndexError for an axis that is not there.",
         axis, keepdims);
  define("mean", &over_axes<mean>,
         "The mean over axis: an int, a tuple of ints, or None for all axes. TypeError unless float32 or float64.",
         axis, keepdims);
  define("max", &over_axes<max>,
         "The largest element over axis (an int, a tuple of ints, or None for all axes); NaN wins.\n\n"
         "The gradient goes to the first of equal elements. ValueError for a reduced axis of length 0.",
         axis, keepdims);
  define("min", &over_axes<min>,
         "The smallest element over axis (an int, a tuple of ints, or None for all axes); NaN wins.\n\n"
         "The gradient goes to the first of equal elements. ValueError for a reduced axis of length 0.",
         axis, keepdims);
  define("argmax", &argmax, "int64 index of the first largest element along axis; None: of the flattened tensor.", axis,
         keepdims);
  define("argmin", &argmin, "int64 index of the first smallest element along axis; None: of the flattened tensor.",
         axis, keepdims);
  define("softmax", &softmax,
         "exp(x) / sum(exp(x)) along axis, float32 or float64. Elements of -inf give 0; a row of nothing else, NaN.",
         last);
  define("log_softmax", &log_softmax, "log(softmax(x)) along axis, float32 or float64.", last);
}

void bind_tensor_reductions(py::class_<Tensor>& cls) {
  define_reductions(cls, {});
  cls.def("cumsum", &cumsum, py::arg("axis"), NoGil(), "Running sums along axis. Integers and booleans sum to int64.");
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
      R"(-log softmax(logits)[target], averaged, summed or listed over rows.

logits: (..., V), float32 or float64; targets: (...), int64 or int32, rows with ignore_index don't count.
reduction: "mean", "sum" -> (); "none" -> (...). All rows ignored: 0 and zero gradients.
Raises ValueError for a wrong shape or option, TypeError for a wrong dtype, IndexError for a target outside 0 ... V - 1.)");
  ops.def(
      "linear_cross_entropy",
      [](const Tensor& x, const Tensor& weight, const Tensor& targets, const std::optional<Tensor>& bias,
         int64_t ignore_index, const std::string& reduction, double label_smoothing) {
        return linear_cross_entropy(x, weight, targets, or_absent(bias),
                                    loss_options("linear_cross_entropy", ignore_index, reduction, label_smoothing));
      },
      py::arg("x"), py::arg("weight"), py::arg("targets"), py::arg("bias") = py::none(), py::arg("ignore_index") = -100,
      py::arg("reduction") = "mean", py::arg("label_smoothing") = 0.0, NoGil(),
      R"(cross_entropy(linear(x, weight, bias), targets) that never holds all logits.

x: (..., C), weight: (V, C), bias: (V,) or None, float32 or float64 all; targets: (...), int64 or int32.
Arguments, results and errors otherwise are those of cross_entropy.)");
  ops.def(
      "mse_loss",
      [](const Tensor& x, const Tensor& target, const std::string& reduction) {
        return mse_loss(x, target, reduction_from_name("mse_loss", reduction));
      },
      py::arg("x"), py::arg("target"), py::arg("reduction") = "mean", NoGil(),
      R"((x - target)^2, averaged, summed or listed.

x, target: one shape, float32 or float64 alike. reduction: "mean", "sum" -> (); "none" -> x's shape.
Raises ValueError for a wrong shape or option, TypeError for a wrong dtype.)");
  ops.def(
      "bce_with_logits",
      [](const Tensor& x, const Tensor& target, const std::string& reduction) {
        return bce_with_logits(x, target, reduction_from_name("bce_with_logits", reduction));
      },
      py::arg("x"), py::arg("target"), py::arg("reduction") = "mean", NoGil(),
      R"(-target log(p) - (1 - target) log(1 - p) with p = sigmoid(x), averaged, summed or listed.

x, target: one shape, float32 or float64 alike; targets from 0 to 1. reduction: "mean", "sum" -> (); "none" -> x's shape.
Raises ValueError for a wrong shape or option, TypeError for a wrong dtype.)");
}

void bind_reduce(py::module_& ops) {
  define_reductions(ops, {py::arg("x")});
  ops.def("cumsum", &cumsum, py::arg("x"), py::arg("axis"), NoGil(),
          "Running sums along axis. Integers and booleans sum to int64.");
  ops.def(
      "topk",
      [](const Tensor& x, int64_t k, int64_t axis) {
        TopkTensors r = topk(x, k, axis);
        return std::pair(r.values, r.indices);
      },
      py::arg("x"), py::arg("k"), py::arg("axis") = -1, NoGil(),
      R"((values, indices) of the k largest elements along axis, largest first.

NaN is larger than anything; of equal elements the lower index comes first. indices are int64 and have no gradient.
Raises ValueError unless 0 <= k <= the axis' extent, TypeError for a dtype that is not float32, float64 or an integer.)");
  bind_losses(ops);
}

}  // namespace pyformer::bindings
