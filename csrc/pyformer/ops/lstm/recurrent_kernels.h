// What the kernels of the recurrent ops share.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

// One step of a (B, T, n) array, or a (B, n) array: row b starts b * stride elements after data.
struct StepRows {
  void* data = nullptr;
  int64_t stride = 0;

  template <class T>
  __attribute__((always_inline)) T* row(int64_t b) const {
    return static_cast<T*>(data) + b * stride;
  }
};

}  // namespace pyformer
