// Python's operators on tensors.
#include "operands.h"
#include "pyformer/ops/cast/cast.h"
#include "pyformer/ops/elementwise/elementwise.h"

namespace pyformer::bindings {

// Computes function(self, other), or function(other, self) where reflected, in the operands' common dtype.
static py::object apply_operator(const char* op, BinaryFunction function, const Tensor& self, py::handle other,
                                 bool reflected) {
  if (const auto dtype = widened_by_number(self, other))
    return apply_operator(op, function, cast(self, *dtype), other, reflected);
  const std::optional<Tensor> operand = binary_operand(op, other, self);
  if (!operand) return py::reinterpret_borrow<py::object>(Py_NotImplemented);
  const Tensor &a = reflected ? *operand : self, &b = reflected ? self : *operand;
  if (!differ(op, a, b)) return py::cast(call(function, a, b));
  const auto [x, y] = in_one_dtype(op, a, b);
  return py::cast(call(function, x, y));
}

static void bind_operator(py::class_<Tensor>& cls, const char* method, const char* op, BinaryFunction function) {
  cls.def(
      method,
      [op, function](const Tensor& self, py::handle other) { return apply_operator(op, function, self, other, false); },
      py::arg("other"));
}

static void bind_reflected(py::class_<Tensor>& cls, const char* method, const char* op, BinaryFunction function) {
  cls.def(
      method,
      [op, function](const Tensor& self, py::handle other) { return apply_operator(op, function, self, other, true); },
      py::arg("other"));
}

static py::object power_operator(const Tensor& self, py::handle exponent) {
  if (const auto whole = whole_power(self, exponent)) return py::cast(*whole);
  return apply_operator("power", &power, self, exponent, false);
}

void bind_tensor_operators(py::class_<Tensor>& cls) {
  find_numpy_scalars();
  bind_operator(cls, "__add__", "add", &add);
  bind_reflected(cls, "__radd__", "add", &add);
  bind_operator(cls, "__sub__", "subtract", &subtract);
  bind_reflected(cls, "__rsub__", "subtract", &subtract);
  bind_operator(cls, "__mul__", "multiply", &multiply);
  bind_reflected(cls, "__rmul__", "multiply", &multiply);
  bind_operator(cls, "__truediv__", "divide", &divide);
  bind_reflected(cls, "__rtruediv__", "divide", &divide);
  bind_operator(cls, "__floordiv__", "floor_divide", &floor_divide);
  bind_reflected(cls, "__rfloordiv__", "floor_divide", &floor_divide);
  cls.def("__pow__", &power_operator, py::arg("exponent"));
  bind_reflected(cls, "__rpow__", "power", &power);
  bind_operator(cls, "__and__", "logical_and", &logical_and);
  bind_reflected(cls, "__rand__", "logical_and", &logical_and);
  bind_operator(cls, "__or__", "logical_or", &logical_or);
  bind_reflected(cls, "__ror__", "logical_or", &logical_or);
  bind_operator(cls, "__eq__", "equal", &equal);
  bind_operator(cls, "__ne__", "not_equal", &not_equal);
  bind_operator(cls, "__lt__", "less", &less);
  bind_operator(cls, "__le__", "less_equal", &less_equal);
  bind_operator(cls, "__gt__", "greater", &greater);
  bind_operator(cls, "__ge__", "greater_equal", &greater_equal);
  cls.attr("__hash__") = py::module_::import("builtins").attr("object").attr("__hash__");
  cls.attr("__array_priority__") = 1000;  // so that array + tensor calls Tensor.__radd__, which records the gradient
  cls.def("__neg__", &negate, NoGil());
  cls.def("__abs__", &abs, NoGil());
  cls.def("__invert__", &logical_not, NoGil());
  bind_tensor_unary(cls);
}

}  // namespace pyformer::bindings
