// The activations that there are, for the arguments of kernels; what each of them is: activation_functions.h.
#pragma once
#include <cstdint>

namespace pyformer {

// In the order of the list in activation_functions.h.
enum class Activation : int { none, gelu, gelu_tanh, relu, silu, tanh, sigmoid };
constexpr int kActivationCount = 7;

const char* name(Activation activation);  // "gelu_tanh"

}  // namespace pyformer
