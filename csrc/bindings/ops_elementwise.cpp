// Elementwise operations of two and three operands, logic, cast, gelu and dropout.
#include "operands.h"
#include "pyformer/ops/activation/activation.h"
#include "pyformer/ops/cast/cast.h"
#include "pyformer/ops/dropout/dropout.h"
#include "pyformer/ops/elementwise/elementwise.h"

namespace pyformer::bindings {

static void bind_binary(py::module_& ops, const char* op, BinaryFunction function, const char* doc) {
  ops.def(
      op,
      [op, function](py::handle a, py::handle b) {
        const auto [x, y] = binary_operands(op, a, b);
        return call(function, x, y);
      },
      py::arg("a"), py::arg("b"), doc);
}

// With torch's alpha, by which b is multiplied.
static void bind_sum(py::module_& ops, const char* op, BinaryFunction function, const char* doc) {
  ops.def(
      op,
      [op, function](py::handle a, const py::object& b, const py::object& alpha) {
        const py::object scaled = alpha.equal(py::int_(1)) ? b : b * alpha;
        const auto [x, y] = binary_operands(op, a, scaled);
        return call(function, x, y);
      },
      py::arg("a"), py::arg("b"), py::kw_only(), py::arg("alpha") = 1, doc);
}

// Converts to bool: every value but 0 is true, NaN too.
static Tensor as_bool(const Tensor& x) { return x.dtype() == DType::boolean ? x : cast(x, DType::boolean); }
static Tensor both_true(const Tensor& a, const Tensor& b) { return logical_and(as_bool(a), as_bool(b)); }
static Tensor one_true(const Tensor& a, const Tensor& b) { return logical_or(as_bool(a), as_bool(b)); }
static Tensor not_true(const Tensor& x) { return logical_not(as_bool(x)); }

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
  ops.def("logical_not", &not_true, py::arg("x"), NoGil(), R"(not x, element by element; of numbers, whether they are 0.

Args:
    x: (...), any dtype.

Returns:
    Bool tensor of x's shape. It has no gradient.

Raises:
    TypeError: x is no tensor.

Example:
    >>> pf.ops.logical_not(pf.tensor([True, False]))
    tensor([False,  True], dtype=bool))");

  bind_sum(ops, "add", &add, R"(a + alpha * b, element by element; of bools, or.

All functions of two operands take them so: shapes broadcast as NumPy's do, and one operand may be a Python or NumPy
number, which takes the other's dtype. Integers and bools beside floats become floats of that dtype, beside a number
with a fraction float32, and narrow integers and bools beside wider integers those; two float dtypes do not meet.

Args:
    a, b: (...), both float, integer or bool; or one of them a number.
    alpha: a number by which b is multiplied first.

Returns:
    Tensor of the broadcast shape and the operands' dtype; integers wrap.

Raises:
    ValueError: the shapes do not broadcast, or an integer does not fit in the tensor's dtype.
    TypeError: the dtypes differ or are others, or neither operand is a tensor.

Example:
    >>> pf.ops.add(pf.tensor([[1.0], [2.0]]), pf.tensor([10.0, 20.0]))
    tensor([[11., 21.],
            [12., 22.]], dtype=float32)
    >>> pf.ops.add(pf.tensor([1.0]), pf.zeros(1, dtype="float64"))
    Traceback (most recent call last):
        ...
    TypeError: add: expected both operands to be float32, got float32 and float64)");
  bind_sum(ops, "subtract", &subtract, R"(a - alpha * b, element by element.

Args:
    a, b: (...), both float or integer, which broadcast; or one of them a number, as in `add`.
    alpha: a number by which b is multiplied first.

Returns:
    Tensor of the broadcast shape and the operands' dtype; integers wrap.

Raises:
    ValueError: the shapes do not broadcast, or an integer does not fit in the tensor's dtype.
    TypeError: the dtypes differ or are others, or neither operand is a tensor.

Example:
    >>> pf.ops.subtract(1.0, pf.tensor([0.25, 1.0]))
    tensor([0.75, 0.  ], dtype=float32))");
  bind_binary(ops, "multiply", &multiply, R"(a * b, element by element; of bools, and.

Args:
    a, b: (...), both float, integer or bool, which broadcast; or one of them a number, as in `add`.

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
    a, b: (...), both float, integer or bool, which broadcast; or one of them a number, as in `add`.

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
    a, b: (...), both float, integer or bool, which broadcast; or one of them a number, as in `add`.

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
        if (py::isinstance<Tensor>(a))
          if (const auto whole = whole_power(a.cast<const Tensor&>(), b)) return *whole;
        const auto [x, y] = binary_operands("power", a, b);
        return call(&power, x, y);
      },
      py::arg("a"), py::arg("b"),
      R"(a ** b, element by element; `a ** 2` is a multiplication, and so are powers of integers, which wrap.

Args:
    a, b: (...), float, which broadcast; or one of them a number, as in `add`. An integer tensor takes a Python integer.

Returns:
    Tensor of the broadcast shape and the operands' dtype; NaN where C's pow is NaN: a negative number to a power that
    is not whole.

Raises:
    ValueError: the shapes do not broadcast, or integers are raised to a negative integer.
    TypeError: the dtypes differ, or integers are raised to a tensor.

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
  bind_binary(ops, "logical_and", &both_true,
              R"(a and b, element by element; numbers other than 0 are true. It has no gradient.

Args:
    a, b: (...), which broadcast and meet as in `add`; or one of them a number.

Returns:
    Bool tensor of the broadcast shape.

Raises:
    ValueError: the shapes do not broadcast.
    TypeError: the dtypes differ and don't meet, or neither operand is a tensor.

Example:
    >>> pf.ops.logical_and(pf.tensor([True, True]), pf.tensor([True, False]))
    tensor([ True, False], dtype=bool))");
  bind_binary(ops, "logical_or", &one_true,
              R"(a or b, element by element; numbers other than 0 are true. It has no gradient.

Args:
    a, b: (...), which broadcast and meet as in `add`; or one of them a number.

Returns:
    Bool tensor of the broadcast shape.

Raises:
    ValueError: the shapes do not broadcast.
    TypeError: the dtypes differ and don't meet, or neither operand is a tensor.

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