// gelu: the Gaussian error linear unit (Hendrycks, Gimpel 2016, section 2).
//
//   none  out = x * (1 + erf(x / sqrt(2))) / 2
//   tanh  out = x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2
//
// x and out (...), float32 or float64. Saved for backward: x.
#pragma once
#include "pyformer/core/tensor.h"

namespace pyformer {

enum class GeluApproximate : int { none, tanh };
GeluApproximate gelu_approximate_from_name(const std::string& name);  // ValueError unless "none" or "tanh"

Array gelu_forward(const Array& x, GeluApproximate approximate);
Array gelu_backward(const Array& dout, const Array& x, GeluApproximate approximate);

Tensor gelu(const Tensor& x, GeluApproximate approximate);

}  // namespace pyformer
