// What the kernels and programs of the recurrent ops share.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

// Sizes of a walk over time.
struct RecurrentShape {
  int64_t batch, steps, hidden, gates;
  bool reverse;
  bool rounds = false;  // the products of the steps round their float32 operands to bfloat16
  int64_t time(int64_t step) const { return reverse ? steps - 1 - step : step; }
};

// One step of a (B, T, n) array, or a (B, n) array: row b starts b * stride elements after data.
struct StepRows {
  void* data = nullptr;
  int64_t stride = 0;

  template <class T>
  constexpr __attribute__((always_inline)) T* row(int64_t b) const {
    return static_cast<T*>(data) + b * stride;
  }
};

// Step t of a (B, T, n) array.
inline StepRows step_rows(const void* data, const RecurrentShape& s, int64_t t, int64_t n, DType dtype) {
  return {static_cast<char*>(const_cast<void*>(data)) + t * n * item_bytes(dtype), s.steps * n};
}

}  // namespace pyformer
