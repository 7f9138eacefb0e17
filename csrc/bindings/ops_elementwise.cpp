// Elementwise operations, Python's operators, dropout and gelu.
#include "ops_elementwise.h"

#include <limits>

#include "pyformer/base/thread_pool.h"
#include "pyformer/ops/cast/cast.h"
#include "pyformer/ops/dropout/dropout.h"
#include "pyformer/ops/elementwise/elementwise.h"
#include "pyformer/ops/gelu/gelu.h"

namespace pyformer::bindings {

using UnaryFunction = Tensor (*)(const Tensor&);
using BinaryFunction = Tensor (*)(const Tensor&, const Tensor&);

// ---- operands ---------------------------------------------------------------------------------------------------

static Tensor scalar(uint64_t bits, const Tensor& like) {
  const Array array = Array::empty({}, like.dtype(), like.device());
  fill_(array, bits);
  return Tensor(array);
}

static Tensor float_scalar(const char* op, double value, const Tensor& like) {
  if (is_float(like.dtype())) return scalar(bits_of(value, like.dtype()), like);
  throw TypeError(cat(op, ": expected an integer to go with ", name(like.dtype()), ", got the float ", value));
}

static Tensor integer_scalar(const char* op, py::handle number, const Tensor& like) {
  const DType dtype = like.dtype();
  if (is_float(dtype)) {
    const double value = PyLong_AsDouble(number.ptr());
    if (value == -1.0 && PyErr_Occurred()) {
      PyErr_Clear();
      throw ValueError(cat(op, ": ", shown(number), " does not fit in ", name(dtype)));
    }
    return float_scalar(op, value, like);
  }
  if (dtype == DType::boolean) throw TypeError(cat(op, ": expected a bool to go with bool, got an integer"));
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
  const auto [least, beyond] = integer_range(dtype);
  const bool fits = !overflow && (dtype == DType::int64 || (double(value) >= least && double(value) < beyond));
  if (!fits) throw ValueError(cat(op, ": ", shown(number), " does not fit in ", name(dtype)));
  return scalar(bits_of(int64_t(value), dtype), like);
}

static TypeError foreign_operand(const char* op, py::handle other) {
  return TypeError(cat(op, ": expected a tensor or a number, got ", Py_TYPE(other.ptr())->tp_name));
}

static py::handle numpy_generic;  // set when the module is made

static bool is_numpy_scalar(py::handle object) { return py::isinstance(object, numpy_generic); }

// As the Python number it stands for. NumPy's item() of a longdouble is a longdouble again, of a date an integer.
static Tensor numpy_scalar(const char* op, py::handle scalar, const Tensor& like) {
  const char kind = py::dtype(scalar.attr("dtype")).kind();
  if (kind == 'f') return float_scalar(op, PyFloat_AsDouble(scalar.ptr()), like);
  if (kind != 'b' && kind != 'i' && kind != 'u') throw foreign_operand(op, scalar);
  return *binary_operand(op, py::object(scalar.attr("item")()), like);
}

std::optional<Tensor> binary_operand(const char* op, py::handle other, const Tensor& like) {
  if (py::isinstance<Tensor>(other)) return other.cast<Tensor>();
  if (PyFloat_Check(other.ptr())) return float_scalar(op, PyFloat_AS_DOUBLE(other.ptr()), like);
  if (PyBool_Check(other.ptr()) && like.dtype() == DType::boolean) return scalar(other.ptr() == Py_True, like);
  if (PyLong_Check(other.ptr())) return integer_scalar(op, other, like);
  if (py::isinstance<py::array>(other)) return tensor_sharing(py::reinterpret_borrow<py::object>(other));
  if (is_numpy_scalar(other)) return numpy_scalar(op, other, like);
  return std::nullopt;
}

std::pair<Tensor, Tensor> binary_operands(const char* op, py::handle a, py::handle b) {
  const auto is_array = [](py::handle h) { return py::isinstance<Tensor>(h) || py::isinstance<py::array>(h); };
  if (!is_array(a) && !is_array(b)) throw TypeError(cat(op, ": expected at least one tensor"));
  const bool a_leads = is_array(a);
  const Tensor lead = *binary_operand(op, a_leads ? a : b, Tensor());
  const std::optional<Tensor> other = binary_operand(op, a_leads ? b : a, lead);
  if (!other) throw foreign_operand(op, a_leads ? b : a);
  return a_leads ? std::pair(lead, *other) : std::pair(*other, lead);
}

static Tensor call(BinaryFunction function, const Tensor& a, const Tensor& b) {
  ReleaseGil release;
  return function(a, b);
}

// x ** 2 is a multiplication, for integers too.
static bool is_two(py::handle exponent) {
  int overflow = 0;
  return PyLong_CheckExact(exponent.ptr()) && PyLong_AsLongAndOverflow(exponent.ptr(), &overflow) == 2;
}

// ---- the Tensor class -------------------------------------------------------------------------------------------

static void bind_operator(py::class_<Tensor>& cls, const char* method, const char* op, BinaryFunction function) {
  cls.def(
      method,
      [op, function](const Tensor& self, py::handle other) -> py::object {
        const std::optional<Tensor> operand = binary_operand(op, other, self);
        if (!operand) return py::reinterpret_borrow<py::object>(Py_NotImplemented);
        return py::cast(call(function, self, *operand));
      },
      py::arg("other"));
}

static void bind_reflected(py::class_<Tensor>& cls, const char* method, const char* op, BinaryFunction function) {
  cls.def(
      method,
      [op, function](const Tensor& self, py::handle other) -> py::object {
        const std::optional<Tensor> operand = binary_operand(op, other, self);
        if (!operand) return py::reinterpret_borrow<py::object>(Py_NotImplemented);
        return py::cast(call(function, *operand, self));
      },
      py::arg("other"));
}

static Tensor squared(const Tensor& x) {
  ReleaseGil release;
  return square(x);
}

static py::object power_operator(const Tensor& self, py::handle exponent) {
  if (is_two(exponent)) return py::cast(squared(self));
  const std::optional<Tensor> operand = binary_operand("power", exponent, self);
  if (!operand) return py::reinterpret_borrow<py::object>(Py_NotImplemented);
  return py::cast(call(&power, self, *operand));
}

struct NamedUnary {
  const char* name;
  UnaryFunction function;
  const char* doc;
};
static const NamedUnary unary_functions[] = {
    {"negate", &negate, "-x. Floats and integers."},
    {"exp", &exp, "e ** x."},
    {"log", &log, "The natural logarithm; -inf at 0, NaN below."},
    {"sqrt", &sqrt, "The square root; NaN below 0."},
    {"abs", &abs, "The absolute value. Floats and integers; gradient 0 at 0."},
    {"sin", &sin, "The sine of x in radians."},
    {"cos", &cos, "The cosine of x in radians."},
    {"square", &square, "x * x. Floats and integers."},
    {"tanh", &tanh, "The hyperbolic tangent."},
    {"sigmoid", &sigmoid, "1 / (1 + e ** -x)."},
    {"relu", &relu, "max(x, 0); NaN stays NaN, gradient 0 at 0."},
    {"silu", &silu, "x * sigmoid(x) (Elfwing, Uchibe, Doya 2017)."},
};

void bind_tensor_operators(py::class_<Tensor>& cls) {
  numpy_generic = py::object(py::module_::import("numpy").attr("generic")).release();
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
  cls.attr("__array_priority__") = 1000;  // so that array + tensor asks the tensor, and its gradient is not lost
  cls.def("__neg__", &negate, NoGil());
  cls.def("__abs__", &abs, NoGil());
  cls.def("__invert__", &logical_not, NoGil());
  for (const NamedUnary& u : unary_functions) cls.def(u.name, u.function, NoGil(), u.doc);
}

// ---- pyformer.ops -----------------------------------------------------------------------------------------------

static void bind_binary(py::module_& ops, const char* op, BinaryFunction function, const char* doc) {
  ops.def(
      op,
      [op, function](py::handle a, py::handle b) {
        const auto [x, y] = binary_operands(op, a, b);
        return call(function, x, y);
      },
      py::arg("a"), py::arg("b"), doc);
}

static Tensor where_operands(const Tensor& cond, py::handle a, py::handle b) {
  const auto [x, y] = binary_operands("where", a, b);
  ReleaseGil release;
  return where(cond, x, y);
}

static Tensor cast_to(const Tensor& x, const py::object& wanted) {
  const DType dtype = dtype_from(wanted);
  ReleaseGil release;
  return cast(x, dtype);
}

void bind_elementwise(py::module_& ops) {
  for (const NamedUnary& u : unary_functions) ops.def(u.name, u.function, py::arg("x"), NoGil(), u.doc);
  ops.def("logical_not", &logical_not, py::arg("x"), NoGil(), "not x, for bool.");

  bind_binary(ops, "add", &add, R"(a + b. Shapes broadcast as NumPy's do; both float32, float64, int64 or int32.

One operand may be a number, which takes the other's dtype. Raises ValueError for shapes that do not broadcast and
TypeError for dtypes that differ; so do all functions of two operands here. Integers wrap.)");
  bind_binary(ops, "subtract", &subtract, "a - b, as add.");
  bind_binary(ops, "multiply", &multiply, "a * b, as add.");
  bind_binary(ops, "divide", &divide, "a / b, float32 or float64; TypeError for integers.");
  bind_binary(ops, "floor_divide", &floor_divide,
              "a // b of integers, rounded down. ValueError for a division by zero.");
  bind_binary(ops, "maximum", &maximum, "The larger of a and b, NaN if either is; equal ones share the gradient.");
  bind_binary(ops, "minimum", &minimum, "The smaller of a and b, NaN if either is; equal ones share the gradient.");
  ops.def(
      "power",
      [](py::handle a, py::handle b) {
        if (py::isinstance<Tensor>(a) && is_two(b)) return squared(a.cast<const Tensor&>());
        const auto [x, y] = binary_operands("power", a, b);
        return call(&power, x, y);
      },
      py::arg("a"), py::arg("b"), "a ** b, float32 or float64 (a ** 2 also of integers). NaN where C's pow is NaN.");
  bind_binary(ops, "equal", &equal, "a == b as bool; also of bool.");
  bind_binary(ops, "not_equal", &not_equal, "a != b as bool; also of bool.");
  bind_binary(ops, "less", &less, "a < b as bool.");
  bind_binary(ops, "less_equal", &less_equal, "a <= b as bool.");
  bind_binary(ops, "greater", &greater, "a > b as bool.");
  bind_binary(ops, "greater_equal", &greater_equal, "a >= b as bool.");
  bind_binary(ops, "logical_and", &logical_and, "a and b, for bool.");
  bind_binary(ops, "logical_or", &logical_or, "a or b, for bool.");
  ops.def("where", &where_operands, py::arg("cond"), py::arg("a"), py::arg("b"),
          "a where cond (bool) is True, else b; the three broadcast. What was not chosen gets gradient 0.");

  ops.def("cast", &cast_to, py::arg("x"), py::arg("dtype"),
          R"(x in another dtype, or x itself if it has it. Differentiable between float dtypes.

Floats go to integers toward zero, with NaN as 0 and what does not fit as the nearest limit.)");
  ops.def(
      "gelu",
      [](const Tensor& x, const std::string& approximate) { return gelu(x, gelu_approximate_from_name(approximate)); },
      py::arg("x"), py::arg("approximate") = "none", NoGil(),
      R"(x * Phi(x), Phi the normal distribution function; with approximate="tanh" its approximation by a tanh.

x: float32 or float64. ValueError unless approximate is "none" or "tanh".
Source: Hendrycks, Gimpel 2016, "Gaussian Error Linear Units", section 2.)");
  ops.def("dropout", &dropout, py::arg("x"), py::arg("p"), NoGil(),
          R"(Sets each element to 0 with probability p and multiplies the others by 1 / (1 - p).

x: float32 or float64; 0 <= p < 1, else ValueError; p = 0 gives x. Draws one stream of random numbers (manual_seed).
Source: Srivastava et al. 2014, "Dropout".)");
}

}  // namespace pyformer::bindings
