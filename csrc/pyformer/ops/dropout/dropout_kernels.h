// What dropout's kernels see. Work item: one element.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

struct DropoutForward {
  int64_t size;
  uint64_t seed, stream;
  const uint64_t* replayed;  // of a recording: where seed and stream are instead
  uint32_t threshold;        // elements with a smaller word are dropped
  double scale;
  const void* x;
  void* out;
  int64_t items() const { return size; }
  int64_t grain() const { return 1 << 14; }
};

struct DropoutTable {
  static constexpr const char* name = "dropout";
  PerDtype<Kernel<DropoutForward>> forward;
};

}  // namespace pyformer
