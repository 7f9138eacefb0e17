// Elementwise functions of one operand: pyformer.ops.exp(x), x.exp() and their like.
#include "bindings.h"
#include "pyformer/ops/elementwise/elementwise.h"

namespace pyformer::bindings {

using UnaryFunction = Tensor (*)(const Tensor&);

struct NamedUnary {
  const char* name;
  UnaryFunction function;
  bool takes_integers;
  const char* summary;
  const char* result;       // what is said of it besides shape and dtype
  const char *x, *printed;  // of the example
  const char* source = nullptr;
};
static const NamedUnary unary_functions[] = {
    {"negate", &negate, true, "-x, element by element.", "; integers wrap", "[1.0, -2.0]", "[-1.,  2.], dtype=float32"},
    {"exp", &exp, false, "e ** x, element by element.", "; inf where the result is too large", "[0.0, 1.0, -1.0]",
     "[1.        , 2.7182817 , 0.36787945], dtype=float32"},
    {"log", &log, false, "The natural logarithm of x, element by element.", "; -inf at 0, NaN below 0",
     "[1.0, 10.0, 0.0]", "[0.       , 2.3025851,      -inf], dtype=float32"},
    {"sqrt", &sqrt, false, "The square root of x, element by element.", "; NaN below 0", "[4.0, 2.0]",
     "[2.       , 1.4142135], dtype=float32"},
    {"abs", &abs, true, "The absolute value of x, element by element. The gradient at 0 is 0.",
     "; the lowest integer stays itself", "[-3, 0, 2]", "[3, 0, 2], dtype=int64"},
    {"sin", &sin, false, "The sine of x, which is in radians, element by element.", "; NaN at infinity", "[0.0, 0.5]",
     "[0.        , 0.47942555], dtype=float32"},
    {"cos", &cos, false, "The cosine of x, which is in radians, element by element.", "; NaN at infinity", "[0.0, 0.5]",
     "[1.        , 0.87758255], dtype=float32"},
    {"square", &square, true, "x * x, element by element.", "; integers wrap", "[3, -4]", "[ 9, 16], dtype=int64"},
    {"tanh", &tanh, false, "The hyperbolic tangent of x, element by element.", ", from -1 to 1", "[0.0, 1.0, -20.0]",
     "[ 0.       ,  0.7615942, -1.       ], dtype=float32"},
    {"sigmoid", &sigmoid, false, "1 / (1 + e ** -x), element by element.", ", from 0 to 1", "[0.0, 2.0, -2.0]",
     "[0.5       , 0.880797  , 0.11920292], dtype=float32"},
    {"relu", &relu, false, "max(x, 0), element by element. NaN stays NaN; the gradient at 0 is 0.", "",
     "[-1.0, 0.0, 2.0]", "[0., 0., 2.], dtype=float32"},
    {"silu", &silu, false, "x * sigmoid(x), element by element; also called swish.",
     "; 0 at -inf, where the gradient is 0 too", "[-1.0, 0.0, 2.0]",
     "[-0.26894143,  0.        ,  1.761594  ], dtype=float32",
     "Elfwing, Uchibe, Doya 2017, \"Sigmoid-weighted linear units\", eq. 2."},
};

static std::string doc_of(const NamedUnary& u) {
  return cat(u.summary, "\n\nArgs:\n    x: (...), ", u.takes_integers ? "float or integer" : "float",
             ".\n\nReturns:\n    Tensor of x's shape and dtype", u.result,
             ".\n\nRaises:\n    TypeError: ", u.takes_integers ? "x is of another dtype" : "x is not a float tensor",
             ".\n\n", u.source ? cat("Source: ", u.source, "\n\n") : std::string(), "Example:\n    >>> pf.tensor(", u.x,
             ").", u.name, "()\n    tensor(", u.printed, ")");
}

void bind_unary(py::module_& ops) {
  for (const NamedUnary& u : unary_functions) ops.def(u.name, u.function, py::arg("x"), NoGil(), doc_of(u).c_str());
}

void bind_tensor_unary(py::class_<Tensor>& cls) {
  for (const NamedUnary& u : unary_functions) cls.def(u.name, u.function, NoGil(), doc_of(u).c_str());
}

}  // namespace pyformer::bindings
