// What bce_with_logits' kernels see. Work item: one element.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

struct BceForward {
  const void* x;
  const void* target;
  void* loss;
};

struct BceBackward {
  const void* x;
  const void* target;
  const void* dout;  // one number, or one an element where dout_each
  bool dout_each;
  double divisor;
  void* dx;       // or null: not wanted
  void* dtarget;  // or null
};

struct BceKernels {  // each indexed [float32, float64]
  Kernel<BceForward> forward[2];
  Kernel<BceBackward> backward[2];
};
template <Isa>
const BceKernels& bce_kernels();  // specialised in bce_with_logits_ref.cpp and, per set, bce_with_logits_cpu.cpp

}  // namespace pyformer
