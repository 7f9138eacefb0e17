// What happens to a finished sum; V is a scalar or Vec<T>. For *_ref.cpp and *_cpu.cpp.
#pragma once
#include "pyformer/ops/activation/activation_functions.h"
#include "pyformer/ops/matmul/matmul_kernels.h"

namespace pyformer::PF_ISA {

// The finished value of one element, F its activation: bias() loads its bias, load(matrix) and store(matrix, value)
// move the element at its place.
template <class F, class V, class Bias, class Load, class Store>
PF_INLINE V finish(const Epilogue& e, V value, const Bias& bias, const Load& load, const Store& store) {
  if (e.bias) value = value + bias();
  if (e.preactivation) store(e.preactivation, value);
  value = F::value(value);
  if (e.factor) value = times_slope(value, load(e.factor));
  if (e.residual) value = value + load(e.residual);
  return value;
}

}  // namespace pyformer::PF_ISA
