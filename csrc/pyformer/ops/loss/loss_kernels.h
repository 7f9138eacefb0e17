// What the losses' shared kernels see.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

// The one work item. out = sum / the count.
struct DivideLoss {
  const void* sum;         // in the accumulator's dtype
  const int64_t* counted;  // the count, of which 0 stands for 1; or null: `count`
  int64_t count;
  void* out;
  int64_t items() const { return 1; }
  int64_t grain() const { return 1; }
};

struct LossTable {
  static constexpr const char* name = "loss";
  static constexpr bool plain = true;
  PerDtype<Kernel<DivideLoss>> divide;  // by the dtype of out
};

}  // namespace pyformer
