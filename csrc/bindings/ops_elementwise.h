// Operands that Python's operators on tensors take.
#pragma once
#include "bindings.h"

namespace pyformer::bindings {

// The other operand of an op on `like`: a tensor as it is, a NumPy array as a tensor that shares its memory, a Python
// or NumPy number as a tensor of no dimensions with like's dtype (numbers never promote). nullopt for anything else.
// TypeError where the dtype cannot hold that kind of number, ValueError where it does not fit.
std::optional<Tensor> binary_operand(const char* op, py::handle other, const Tensor& like);

// Two operands of which at least one is a tensor or a NumPy array; TypeError otherwise.
std::pair<Tensor, Tensor> binary_operands(const char* op, py::handle a, py::handle b);

}  // namespace pyformer::bindings
