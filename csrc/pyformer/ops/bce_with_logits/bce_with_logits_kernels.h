// What bce_with_logits' kernels see. Work item: one element.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

struct BceForward {
  int64_t size;
  const void* x;
  const void* target;
  void* loss;  // in the accumulator's dtype
  int64_t items() const { return size; }
  int64_t grain() const { return 1 << 13; }
};

struct BceBackward {
  int64_t size;
  const void* x;
  const void* target;
  const void* dout;  // one number, or one an element where dout_each
  bool dout_each;
  double divisor;
  void* dx;       // or null: not wanted
  void* dtarget;  // or null
  int64_t items() const { return size; }
  int64_t grain() const { return 1 << 13; }
};

struct BceTable {
  static constexpr const char* name = "bce_with_logits";
  PerDtype<Kernel<BceForward>> forward;
  PerDtype<Kernel<BceBackward>> backward;
};

}  // namespace pyformer
