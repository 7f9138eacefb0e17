// Elementwise functions of one operand: pyformer.ops.exp(x), x.exp() and their like.
#include "bindings.h"
#include "pyformer/ops/elementwise/elementwise.h"

namespace pyformer::bindings {

using UnaryFunction = Tensor (*)(const Tensor&);

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

void bind_unary(py::module_& ops) {
  for (const NamedUnary& u : unary_functions) ops.def(u.name, u.function, py::arg("x"), NoGil(), u.doc);
}

void bind_tensor_unary(py::class_<Tensor>& cls) {
  for (const NamedUnary& u : unary_functions) cls.def(u.name, u.function, NoGil(), u.doc);
}

}  // namespace pyformer::bindings
