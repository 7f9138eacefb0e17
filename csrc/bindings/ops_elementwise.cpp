// Elementwise operations, Python's operators, dropout and gelu.
#include "ops_elementwise.h"

#include <limits>

#include "pyformer/base/thread_pool.h"
#include "pyformer/ops/activation/activation.h"
#include "pyformer/ops/cast/cast.h"
#include "pyformer/ops/dropout/dropout.h"
#include "pyformer/ops/elementwise/elementwise.h"

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
    {"negate", &negate, R"(-x, element by element.

Args:
    x: (...), float or integer.

Returns:
    Tensor of x's shape and dtype; integers wrap.

Raises:
    TypeError: x is of another dtype.

Example:
    >>> pf.tensor([1.0, -2.0]).negate()
    tensor([-1.,  2.], dtype=float32))"},
    {"exp", &exp, R"(e ** x, element by element.

Args:
    x: (...), float.

Returns:
    Tensor of x's shape and dtype; inf where the result is too large.

Raises:
    TypeError: x is not a float tensor.

Example:
    >>> pf.tensor([0.0, 1.0, -1.0]).exp()
    tensor([1.        , 2.7182817 , 0.36787945], dtype=float32))"},
    {"log", &log, R"(The natural logarithm of x, element by element.

Args:
    x: (...), float.

Returns:
    Tensor of x's shape and dtype; -inf at 0, NaN below 0.

Raises:
    TypeError: x is not a float tensor.

Example:
    >>> pf.tensor([1.0, 10.0, 0.0]).log()
    tensor([0.       , 2.3025851,      -inf], dtype=float32))"},
    {"sqrt", &sqrt, R"(The square root of x, element by element.

Args:
    x: (...), float.

Returns:
    Tensor of x's shape and dtype; NaN below 0.

Raises:
    TypeError: x is not a float tensor.

Example:
    >>> pf.tensor([4.0, 2.0]).sqrt()
    tensor([2.       , 1.4142135], dtype=float32))"},
    {"abs", &abs, R"(The absolute value of x, element by element. The gradient at 0 is 0.

Args:
    x: (...), float or integer.

Returns:
    Tensor of x's shape and dtype; the lowest integer stays itself.

Raises:
    TypeError: x is of another dtype.

Example:
    >>> pf.tensor([-3, 0, 2]).abs()
    tensor([3, 0, 2], dtype=int64))"},
    {"sin", &sin, R"(The sine of x, which is in radians, element by element.

Args:
    x: (...), float.

Returns:
    Tensor of x's shape and dtype; NaN at infinity.

Raises:
    TypeError: x is not a float tensor.

Example:
    >>> pf.tensor([0.0, 0.5]).sin()
    tensor([0.        , 0.47942555], dtype=float32))"},
    {"cos", &cos, R"(The cosine of x, which is in radians, element by element.

Args:
    x: (...), float.

Returns:
    Tensor of x's shape and dtype; NaN at infinity.

Raises:
    TypeError: x is not a float tensor.

Example:
    >>> pf.tensor([0.0, 0.5]).cos()
    tensor([1.        , 0.87758255], dtype=float32))"},
    {"square", &square, R"(x * x, element by element.

Args:
    x: (...), float or integer.

Returns:
    Tensor of x's shape and dtype; integers wrap.

Raises:
    TypeError: x is of another dtype.

Example:
    >>> pf.tensor([3, -4]).square()
    tensor([ 9, 16], dtype=int64))"},
    {"tanh", &tanh, R"(The hyperbolic tangent of x, element by element.

Args:
    x: (...), float.

Returns:
    Tensor of x's shape and dtype, from -1 to 1.

Raises:
    TypeError: x is not a float tensor.

Example:
    >>> pf.tensor([0.0, 1.0, -20.0]).tanh()
    tensor([ 0.       ,  0.7615942, -1.       ], dtype=float32))"},
    {"sigmoid", &sigmoid, R"(1 / (1 + e ** -x), element by element.

Args:
    x: (...), float.

Returns:
    Tensor of x's shape and dtype, from 0 to 1.

Raises:
    TypeError: x is not a float tensor.

Example:
    >>> pf.tensor([0.0, 2.0, -2.0]).sigmoid()
    tensor([0.5       , 0.880797  , 0.11920292], dtype=float32))"},
    {"relu", &relu, R"(max(x, 0), element by element. NaN stays NaN; the gradient at 0 is 0.

Args:
    x: (...), float.

Returns:
    Tensor of x's shape and dtype.

Raises:
    TypeError: x is not a float tensor.

Example:
    >>> pf.tensor([-1.0, 0.0, 2.0]).relu()
    tensor([0., 0., 2.], dtype=float32))"},
    {"silu", &silu, R"(x * sigmoid(x), element by element; also called swish.

Args:
    x: (...), float.

Returns:
    Tensor of x's shape and dtype; 0 at -inf, where the gradient is 0 too.

Raises:
    TypeError: x is not a float tensor.

Source: Elfwing, Uchibe, Doya 2017, "Sigmoid-weighted linear units", eq. 2.

Example:
    >>> pf.tensor([-1.0, 0.0, 2.0]).silu()
    tensor([-0.26894143,  0.        ,  1.761594  ], dtype=float32))"},
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
  ops.def("logical_not", &logical_not, py::arg("x"), NoGil(), R"(not x, element by element.

Args:
    x: (...), bool.

Returns:
    Bool tensor of x's shape. It has no gradient.

Raises:
    TypeError: x is not a bool tensor.

Example:
    >>> pf.ops.logical_not(pf.tensor([True, False]))
    tensor([False,  True], dtype=bool))");

  bind_binary(ops, "add", &add, R"(a + b, element by element.

All functions of two operands take them so: shapes broadcast as NumPy's do, and one operand may be a Python or NumPy
number, which takes the other's dtype. Two tensors must have the same dtype; nothing is promoted.

Args:
    a, b: (...), both float or integer; or one of them a number.

Returns:
    Tensor of the broadcast shape and the operands' dtype; integers wrap.

Raises:
    ValueError: the shapes do not broadcast, or an integer does not fit in the tensor's dtype.
    TypeError: the dtypes differ or are others, or neither operand is a tensor.

Example:
    >>> pf.ops.add(pf.tensor([[1.0], [2.0]]), pf.tensor([10.0, 20.0]))
    tensor([[11., 21.],
            [12., 22.]], dtype=float32)
    >>> pf.ops.add(pf.tensor([1.0]), pf.tensor([1]))
    Traceback (most recent call last):
        ...
    TypeError: add: expected both operands to be float32, got float32 and int64)");
  bind_binary(ops, "subtract", &subtract, R"(a - b, element by element.

Args:
    a, b: (...), both float or integer, which broadcast; or one of them a number, as in `add`.

Returns:
    Tensor of the broadcast shape and the operands' dtype; integers wrap.

Raises:
    ValueError: the shapes do not broadcast, or an integer does not fit in the tensor's dtype.
    TypeError: the dtypes differ or are others, or neither operand is a tensor.

Example:
    >>> pf.ops.subtract(1.0, pf.tensor([0.25, 1.0]))
    tensor([0.75, 0.  ], dtype=float32))");
  bind_binary(ops, "multiply", &multiply, R"(a * b, element by element.

Args:
    a, b: (...), both float or integer, which broadcast; or one of them a number, as in `add`.

Returns:
    Tensor of the broadcast shape and the operands' dtype; integers wrap.

Raises:
    ValueError: the shapes do not broadcast, or an integer does not fit in the tensor's dtype.
    TypeError: the dtypes differ or are others, or neither operand is a tensor.

Example:
    >>> pf.ops.multiply(pf.tensor([[1.0, 2.0], [3.0, 4.0]]), pf.tensor([1.0, 10.0]))
    tensor([[ 1., 20.],
            [ 3., 40.]], dtype=float32))");
  bind_binary(ops, "divide", &divide, R"(a / b, element by element.

Args:
    a, b: (...), float, which broadcast; or one of them a number, as in `add`.

Returns:
    Tensor of the broadcast shape and the operands' dtype. A division by zero gives inf or NaN.

Raises:
    ValueError: the shapes do not broadcast.
    TypeError: an operand is an integer tensor, or the dtypes differ.

Example:
    >>> pf.ops.divide(pf.tensor([1.0, -1.0, 0.0]), pf.tensor([4.0, 0.0, 0.0]))
    tensor([0.25, -inf,  nan], dtype=float32))");
  bind_binary(ops, "floor_divide", &floor_divide,
              R"(a // b of integers, rounded down. It has no gradient.

Args:
    a, b: (...), both integer, which broadcast; or one of them an integer, as in `add`.

Returns:
    Tensor of the broadcast shape and the operands' dtype.

Raises:
    ValueError: b holds a zero, or the shapes do not broadcast.
    TypeError: an operand is a float tensor, or the dtypes differ.

Example:
    >>> pf.ops.floor_divide(pf.tensor([7, -7]), 2)
    tensor([ 3, -4], dtype=int64))");
  bind_binary(
      ops, "maximum", &maximum,
      R"(The larger of a and b, element by element; NaN if either is. Equal elements get half of the gradient each.

Args:
    a, b: (...), both float or integer, which broadcast; or one of them a number, as in `add`.

Returns:
    Tensor of the broadcast shape and the operands' dtype.

Raises:
    ValueError: the shapes do not broadcast, or an integer does not fit in the tensor's dtype.
    TypeError: the dtypes differ or are others, or neither operand is a tensor.

Example:
    >>> pf.ops.maximum(pf.tensor([1.0, 5.0]), 2.0)
    tensor([2., 5.], dtype=float32))");
  bind_binary(
      ops, "minimum", &minimum,
      R"(The smaller of a and b, element by element; NaN if either is. Equal elements get half of the gradient each.

Args:
    a, b: (...), both float or integer, which broadcast; or one of them a number, as in `add`.

Returns:
    Tensor of the broadcast shape and the operands' dtype.

Raises:
    ValueError: the shapes do not broadcast, or an integer does not fit in the tensor's dtype.
    TypeError: the dtypes differ or are others, or neither operand is a tensor.

Example:
    >>> pf.ops.minimum(pf.tensor([1.0, 5.0]), 2.0)
    tensor([1., 2.], dtype=float32))");
  ops.def(
      "power",
      [](py::handle a, py::handle b) {
        if (py::isinstance<Tensor>(a) && is_two(b)) return squared(a.cast<const Tensor&>());
        const auto [x, y] = binary_operands("power", a, b);
        return call(&power, x, y);
      },
      py::arg("a"), py::arg("b"), R"(a ** b, element by element; `a ** 2` is a multiplication, for integers too.

Args:
    a, b: (...), float, which broadcast; or one of them a number, as in `add`.

Returns:
    Tensor of the broadcast shape and the operands' dtype; NaN where C's pow is NaN: a negative number to a power that
    is not whole.

Raises:
    ValueError: the shapes do not broadcast.
    TypeError: the dtypes differ, or integers are raised to another power than 2.

Example:
    >>> pf.ops.power(pf.tensor([4.0, 9.0]), 0.5)
    tensor([2., 3.], dtype=float32)
    >>> pf.ops.power(2.0, pf.tensor([3.0, -1.0]))
    tensor([8. , 0.5], dtype=float32))");
  bind_binary(ops, "equal", &equal, R"(a == b, element by element. It has no gradient.

Args:
    a, b: (...), both float, integer or bool, which broadcast; or one of them a number, as in `add`.

Returns:
    Bool tensor of the broadcast shape; NaN equals nothing.

Raises:
    ValueError: the shapes do not broadcast, or an integer does not fit in the tensor's dtype.
    TypeError: the dtypes differ or are others, or neither operand is a tensor.

Example:
    >>> pf.ops.equal(pf.tensor([1, 2, 3]), 2)
    tensor([False,  True, False], dtype=bool))");
  bind_binary(ops, "not_equal", &not_equal, R"(a != b, element by element. It has no gradient.

Args:
    a, b: (...), both float, integer or bool, which broadcast; or one of them a number, as in `add`.

Returns:
    Bool tensor of the broadcast shape; NaN differs from everything.

Raises:
    ValueError: the shapes do not broadcast, or an integer does not fit in the tensor's dtype.
    TypeError: the dtypes differ or are others, or neither operand is a tensor.

Example:
    >>> pf.ops.not_equal(pf.tensor([1, 2, 3]), 2)
    tensor([ True, False,  True], dtype=bool))");
  bind_binary(ops, "less", &less, R"(a < b, element by element. It has no gradient.

Args:
    a, b: (...), both float or integer, which broadcast; or one of them a number, as in `add`.

Returns:
    Bool tensor of the broadcast shape; False where either is NaN.

Raises:
    ValueError: the shapes do not broadcast, or an integer does not fit in the tensor's dtype.
    TypeError: the dtypes differ or are others, or neither operand is a tensor.

Example:
    >>> pf.ops.less(pf.tensor([1, 2, 3]), 2)
    tensor([ True, False, False], dtype=bool))");
  bind_binary(ops, "less_equal", &less_equal, R"(a <= b, element by element. It has no gradient.

Args:
    a, b: (...), both float or integer, which broadcast; or one of them a number, as in `add`.

Returns:
    Bool tensor of the broadcast shape; False where either is NaN.

Raises:
    ValueError: the shapes do not broadcast, or an integer does not fit in the tensor's dtype.
    TypeError: the dtypes differ or are others, or neither operand is a tensor.

Example:
    >>> pf.ops.less_equal(pf.tensor([1, 2, 3]), 2)
    tensor([ True,  True, False], dtype=bool))");
  bind_binary(ops, "greater", &greater, R"(a > b, element by element. It has no gradient.

Args:
    a, b: (...), both float or integer, which broadcast; or one of them a number, as in `add`.

Returns:
    Bool tensor of the broadcast shape; False where either is NaN.

Raises:
    ValueError: the shapes do not broadcast, or an integer does not fit in the tensor's dtype.
    TypeError: the dtypes differ or are others, or neither operand is a tensor.

Example:
    >>> pf.ops.greater(pf.tensor([1, 2, 3]), 2)
    tensor([False, False,  True], dtype=bool))");
  bind_binary(ops, "greater_equal", &greater_equal, R"(a >= b, element by element. It has no gradient.

Args:
    a, b: (...), both float or integer, which broadcast; or one of them a number, as in `add`.

Returns:
    Bool tensor of the broadcast shape; False where either is NaN.

Raises:
    ValueError: the shapes do not broadcast, or an integer does not fit in the tensor's dtype.
    TypeError: the dtypes differ or are others, or neither operand is a tensor.

Example:
    >>> pf.ops.greater_equal(pf.tensor([1, 2, 3]), 2)
    tensor([False,  True,  True], dtype=bool))");
  bind_binary(ops, "logical_and", &logical_and, R"(a and b, element by element. It has no gradient.

Args:
    a, b: (...), bool, which broadcast; or one of them a Python bool.

Returns:
    Bool tensor of the broadcast shape.

Raises:
    ValueError: the shapes do not broadcast.
    TypeError: an operand is not bool.

Example:
    >>> pf.ops.logical_and(pf.tensor([True, True]), pf.tensor([True, False]))
    tensor([ True, False], dtype=bool))");
  bind_binary(ops, "logical_or", &logical_or, R"(a or b, element by element. It has no gradient.

Args:
    a, b: (...), bool, which broadcast; or one of them a Python bool.

Returns:
    Bool tensor of the broadcast shape.

Raises:
    ValueError: the shapes do not broadcast.
    TypeError: an operand is not bool.

Example:
    >>> pf.ops.logical_or(pf.tensor([False, True]), pf.tensor([False, False]))
    tensor([False,  True], dtype=bool))");
  ops.def("where", &where_operands, py::arg("cond"), py::arg("a"), py::arg("b"),
          R"(a where cond is True, else b; the three broadcast. What was not chosen gets the gradient 0.

Functions of single elements (exp, log, sqrt, division, powers, activations and the like) pass a gradient of 0 on as 0,
also where their slope is infinite or NaN: a branch may be computed where it is not chosen. An operation that mixes
elements (matmul, softmax, a norm) multiplies that 0 with all it mixes; give it numbers that are safe, as in
`where(ok, f(where(ok, x, 1.0)), 0.0)`.

Args:
    cond: (...), bool.
    a, b: (...), of one dtype; or one of them a number, which takes the other's dtype.

Returns:
    Tensor of the broadcast shape and the dtype of a and b.

Raises:
    ValueError: the shapes do not broadcast.
    TypeError: cond is not bool, the dtypes of a and b differ, or neither is a tensor.

Example:
    >>> x = pf.tensor([-1.0, 2.0, -3.0])
    >>> pf.ops.where(x > 0, x, 0.0)
    tensor([0., 2., 0.], dtype=float32)
    >>> x.requires_grad = True
    >>> pf.ops.where(x > 0, pf.ops.sqrt(x), 0.0).sum().backward()
    >>> x.grad
    tensor([0.        , 0.35355338, 0.        ], dtype=float32))");

  ops.def("cast", &cast_to, py::arg("x"), py::arg("dtype"),
          R"(x in another dtype; x itself if it has it already.

Args:
    x: (...), any dtype.
    dtype: a dtype of pyformer or NumPy, or its name.

Returns:
    Tensor of x's shape. Floats go to integers toward zero, NaN as 0 and what does not fit as the nearest limit. The
    gradient passes between float dtypes, rounded to x's.

Raises:
    TypeError: dtype is none that pyformer has.

Example:
    >>> pf.ops.cast(pf.tensor([1.75, -1.75]), pf.int64)
    tensor([ 1, -1], dtype=int64)
    >>> pf.ops.cast(pf.tensor([1, 0]), "bool")
    tensor([ True, False], dtype=bool))");
  ops.def(
      "gelu", [](const Tensor& x, const std::string& approximate) { return gelu(x, gelu_from_name(approximate)); },
      py::arg("x"), py::arg("approximate") = "none", NoGil(),
      R"(x * Phi(x), where Phi is the distribution function of the normal distribution; element by element.

Args:
    x: (...), float.
    approximate: "none" computes Phi by erf; "tanh" takes 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).

Returns:
    Tensor of x's shape and dtype; 0 at -inf, where the gradient is 0 too.

Raises:
    ValueError: approximate is neither "none" nor "tanh".
    TypeError: x is not a float tensor.

Source: Hendrycks, Gimpel 2016, "Gaussian Error Linear Units", section 2.

Example:
    >>> x = pf.tensor([-1.0, 0.0, 2.0])
    >>> pf.ops.gelu(x)
    tensor([-0.15865526,  0.        ,  1.9544997 ], dtype=float32)
    >>> pf.ops.gelu(x, approximate="tanh")
    tensor([-0.158808 ,  0.       ,  1.9545978], dtype=float32))");
  ops.def("dropout", &dropout, py::arg("x"), py::arg("p"), NoGil(),
          R"(Sets each element to 0 with probability p and multiplies the others by 1 / (1 - p).

Args:
    x: (...), float.
    p: the probability, 0 <= p < 1; 0 gives x itself.

Returns:
    Tensor of x's shape and dtype. Each call draws one stream of random numbers (`pf.manual_seed`); which elements are
    dropped depends on seed and stream alone.

Raises:
    ValueError: p is not in [0, 1).
    TypeError: x is not a float tensor.

Source: Srivastava et al. 2014, "Dropout".

Example:
    >>> pf.manual_seed(0)
    >>> pf.ops.dropout(pf.ones(8), 0.5)
    tensor([0., 2., 2., 2., 2., 0., 2., 0.], dtype=float32))");
}

}  // namespace pyformer::bindings
