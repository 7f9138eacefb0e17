// activation: one function of the list in activation_functions.h on each element, and gelu by its own name.
//
//   none       x
//   gelu       x * (1 + erf(x / sqrt(2))) / 2                               Hendrycks, Gimpel 2016, section 2
//   gelu_tanh  x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2        the same
//   relu       x where x > 0 or NaN, else +0
//   silu       x / (1 + e^-x)
//   tanh, sigmoid
//
// A zero that stands for something below 0, or for -0, is -0, but for relu's.
// x and out (...), any float dtype. Saved for backward: x.
#pragma once
#include "pyformer/core/tensor.h"
#include "pyformer/ops/activation/activation_kind.h"

namespace pyformer {

std::string activation_names();                            // "none, gelu, ... or sigmoid"
Activation activation_from_name(const std::string& name);  // ValueError unless it is in the list
// gelu's "none" and "tanh"; ValueError for another.
Activation gelu_from_name(const std::string& approximate);

// `op` is named in errors.
Array activation_forward(const char* op, const Array& x, Activation activation);
Array activation_backward(const char* op, const Array& dout, const Array& x, Activation activation);
// Returns activation(x) and writes activation'(x) over x: both share most of their work.
Array activation_forward_(const char* op, const Array& x, Activation activation);

Tensor gelu(const Tensor& x, Activation form);

}  // namespace pyformer
