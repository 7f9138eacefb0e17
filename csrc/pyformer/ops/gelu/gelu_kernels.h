// What gelu's kernels see. Work item: one element.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

struct GeluForward {
  const void* x;
  void* out;
  bool nontemporal;  // out goes past the caches
};
struct GeluBackward {
  const void* dout;
  const void* x;
  void* dx;
  bool nontemporal;
};

struct GeluKernels {  // each indexed [float32, float64]
  Kernel<GeluForward> forward_erf[2], forward_tanh[2];
  Kernel<GeluBackward> backward_erf[2], backward_tanh[2];
};
template <Isa>
const GeluKernels& gelu_kernels();  // specialised in gelu_ref.cpp and, per set, gelu_cpu.cpp

}  // namespace pyformer
