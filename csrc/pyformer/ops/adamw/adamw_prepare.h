// The coefficients of a step of adamw where only the device knows which step it is: for adamw_ref.cpp and
// adamw_cuda.cu.
#pragma once
#include "pyformer/base/math.h"
#include "pyformer/ops/adamw/adamw_kernels.h"

namespace pyformer::PF_ISA {

PF_INLINE void prepare_step(const AdamWPrepare& a) {
  const AdamWSettings& s = a.replayed ? *a.replayed : a.settings;
  const double step = s.step - double(*a.skipped);
  *a.out = {1 - s.lr * s.weight_decay,      1 - s.beta1, s.beta2, 1 - s.beta2, sqrt(1 - pow(s.beta2, step)), s.eps,
            s.lr / (1 - pow(s.beta1, step))};
}

}  // namespace pyformer::PF_ISA
