// The other operand of an operator on a tensor: a tensor, a NumPy array or a number.
#pragma once
#include "bindings.h"

namespace pyformer::bindings {

using BinaryFunction = Tensor (*)(const Tensor&, const Tensor&);

// Looks up the class of NumPy's numbers: once, when the module is made.
void find_numpy_scalars();

// The other operand of an op on `like`: a tensor as it is, a NumPy array as a tensor that shares its memory, a Python
// or NumPy number as a tensor of no dimensions with like's dtype. nullopt for anything else.
// TypeError where the dtype cannot hold that kind of number, ValueError where it does not fit.
std::optional<Tensor> binary_operand(const char* op, py::handle other, const Tensor& like);

// Whether these operands need in_one_dtype.
inline bool differ(const char* op, const Tensor& a, const Tensor& b) {
  return a.dtype() != b.dtype() || (!is_float(a.dtype()) && std::string_view(op) == "divide");
}
// Integers and bools beside floats become floats of that dtype, narrow integers and bools beside wider ones those;
// quotients of integers are float32. Two float dtypes stay, and the op refuses them.
std::pair<Tensor, Tensor> in_one_dtype(const char* op, const Tensor& a, const Tensor& b);
// The dtype that a tensor without fractions takes beside a number: float32 beside a fraction, int64 for a bool tensor
// beside an integer. nullopt: its own.
std::optional<DType> widened_by_number(const Tensor& tensor, py::handle other);

// Two operands of which at least one is a tensor or a NumPy array; TypeError otherwise.
std::pair<Tensor, Tensor> binary_operands(const char* op, py::handle a, py::handle b);

// function(a, b) while other Python threads run.
Tensor call(BinaryFunction function, const Tensor& a, const Tensor& b);

// x ** exponent where that is made of multiplications: the square of x, and whole powers of integers. nullopt
// elsewhere.
std::optional<Tensor> whole_power(const Tensor& x, py::handle exponent);

}  // namespace pyformer::bindings
