// What sgd's kernel sees. Work item: one piece, consecutive elements of one parameter.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

// All but param are in the accumulator of its dtype.
struct SgdPiece {
  void* param;
  void* master;  // what is stepped: param itself, or of 16-bit floats a float32 copy, rounded into param
  const void* grad;
  void* buffer;  // or null: no momentum
  int64_t count;
};

struct SgdStep {
  const SgdPiece* pieces;
  int64_t count;
  double lr, momentum, weight_decay;
  bool nesterov;
  // On a device, or null: the learning rate, and a norm that unless it is finite forbids the step.
  const double* lr_on_device;
  const double* norm;
  int64_t items() const { return count; }
  int64_t grain() const { return 1; }
};

struct SgdTable {
  static constexpr const char* name = "sgd";
  static constexpr bool plain = true;
  PerDtype<Kernel<SgdStep>> step;
};

}  // namespace pyformer
