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

// Whether in_one_dtype must convert these operands before op takes them.
inline bool differ(const char* op, const Tensor& a, const Tensor& b) {
  return a.dtype() != b.dtype() || (!is_float(a.dtype()) && std::string_view(op) == "divide");
}
// Converts two operands to one dtype: integers and bools to the other operand's float dtype, narrow integers and bools
// to the other's wider one, both operands of a quotient of integers to float32. Two different float dtypes are returned
// as they are, and the op refuses them.
std::pair<Tensor, Tensor> in_one_dtype(const char* op, const Tensor& a, const Tensor& b);
// The dtype that an integer or bool tensor is converted to because its other operand is this Python or NumPy number:
// float32 if that is a float, int64 for a bool tensor and an integer. nullopt: the tensor stays as it is.
std::optional<DType> widened_by_number(const Tensor& tensor, py::handle other);

// Two operands of which at least one is a tensor or a NumPy array; TypeError otherwise.
std::pair<Tensor, Tensor> binary_operands(const char* op, py::handle a, py::handle b);

// Calls function(a, b); releases the GIL meanwhile unless the operands are small.
Tensor call(BinaryFunction function, const Tensor& a, const Tensor& b);

// x ** exponent where it is computed by multiplications: exponent 2, and integer powers of integer tensors. nullopt for
// any other.
std::optional<Tensor> whole_power(const Tensor& x, py::handle exponent);

}  // namespace pyformer::bindings
