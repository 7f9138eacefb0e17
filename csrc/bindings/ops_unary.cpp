// Elementwise functions of one operand: pyformer.ops.exp(x), x.exp() and their like.
#include "bindings.h"
#include "pyformer/ops/cast/cast.h"
#include "pyformer/ops/elementwise/elementwise.h"

namespace pyformer::bindings {

using UnaryFunction = Tensor (*)(const Tensor&);

struct NamedUnary {
  const char* name;
  UnaryFunction function;
  enum { as_floats, as_they_are, not_at_all } integers;  // what it does with integers and bools
  const char* summary;
  const char* result;       // what the docstring adds after the result's shape and dtype
  const char *x, *printed;  // the docstring's example: the input, and the tensor that is printed
  const char* source = nullptr;
};
static const NamedUnary unary_functions[] = {
    {"negate", &negate, NamedUnary::as_they_are, "-x, element by element.", "; integers wrap", "[1.0, -2.0]",
     "[-1.,  2.], dtype=float32"},
    {"exp", &exp, NamedUnary::as_floats, "e ** x, element by element.", "; inf where the result is too large",
     "[0.0, 1.0, -1.0]", "[1.        , 2.7182817 , 0.36787945], dtype=float32"},
    {"log", &log, NamedUnary::as_floats, "The natural logarithm of x, element by element.", "; -inf at 0, NaN below 0",
     "[1.0, 10.0, 0.0]", "[0.       , 2.3025851,      -inf], dtype=float32"},
    {"sqrt", &sqrt, NamedUnary::as_floats, "The square root of x, element by element.", "; NaN below 0", "[4.0, 2.0]",
     "[2.       , 1.4142135], dtype=float32"},
    {"abs", &abs, NamedUnary::as_they_are, "The absolute value of x, element by element. The gradient at 0 is 0.",
     "; the lowest integer stays itself", "[-3, 0, 2]", "[3, 0, 2], dtype=int64"},
    {"sin", &sin, NamedUnary::as_floats, "The sine of x, which is in radians, element by element.", "; NaN at infinity",
     "[0.0, 0.5]", "[0.        , 0.47942555], dtype=float32"},
    {"cos", &cos, NamedUnary::as_floats, "The cosine of x, which is in radians, element by element.",
     "; NaN at infinity", "[0.0, 0.5]", "[1.        , 0.87758255], dtype=float32"},
    {"square", &square, NamedUnary::as_they_are, "x * x, element by element.", "; integers wrap", "[3, -4]",
     "[ 9, 16], dtype=int64"},
    {"tanh", &tanh, NamedUnary::as_floats, "The hyperbolic tangent of x, element by element.", ", from -1 to 1",
     "[0.0, 1.0, -20.0]", "[ 0.       ,  0.7615942, -1.       ], dtype=float32"},
    {"sigmoid", &sigmoid, NamedUnary::as_floats, "1 / (1 + e ** -x), element by element.", ", from 0 to 1",
     "[0.0, 2.0, -2.0]", "[0.5       , 0.880797  , 0.11920292], dtype=float32"},
    {"relu", &relu, NamedUnary::not_at_all, "max(x, 0), element by element. NaN stays NaN; the gradient at 0 is 0.", "",
     "[-1.0, 0.0, 2.0]", "[0., 0., 2.], dtype=float32"},
    {"silu", &silu, NamedUnary::not_at_all, "x * sigmoid(x), element by element; also called swish.",
     "; 0 at -inf, where the gradient is 0 too", "[-1.0, 0.0, 2.0]",
     "[-0.26894143,  0.        ,  1.761594  ], dtype=float32",
     "Elfwing, Uchibe, Doya 2017, \"Sigmoid-weighted linear units\", eq. 2."},
};

static std::string doc_of(const NamedUnary& u) {
  const bool is_any = u.integers == NamedUnary::as_floats, is_whole = u.integers == NamedUnary::as_they_are;
  return cat(u.summary, "\n\nArgs:\n    x: (...), ",
             is_any     ? "float; integers and bools are taken as float32"
             : is_whole ? "float or integer"
                        : "float",
             ".\n\nReturns:\n    Tensor of x's shape and ", is_any ? "float dtype" : "dtype", u.result,
             ".\n\nRaises:\n    TypeError: ",
             is_any     ? "x is no tensor"
             : is_whole ? "x is of another dtype"
                        : "x is not a float tensor",
             ".\n\n", u.source ? cat("Source: ", u.source, "\n\n") : std::string(), "Example:\n    >>> pf.tensor(", u.x,
             ").", u.name, "()\n    tensor(", u.printed, ")");
}

static void bind(const NamedUnary& u, const auto& define) {
  if (u.integers != NamedUnary::as_floats) return define(u.function);
  define(
      [function = u.function](const Tensor& x) { return function(is_float(x.dtype()) ? x : cast(x, DType::float32)); });
}

void bind_unary(py::module_& ops) {
  for (const NamedUnary& u : unary_functions)
    bind(u, [&](const auto& function) { ops.def(u.name, function, py::arg("x"), NoGil(), doc_of(u).c_str()); });
}

void bind_tensor_unary(py::class_<Tensor>& cls) {
  for (const NamedUnary& u : unary_functions)
    bind(u, [&](const auto& function) { cls.def(u.name, function, NoGil(), doc_of(u).c_str()); });
}

}  // namespace pyformer::bindings
