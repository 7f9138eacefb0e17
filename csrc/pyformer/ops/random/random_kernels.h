// What random's kernels see. Work item: one element.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

struct RandomFill {
  int64_t size;
  uint64_t seed, stream;
  const uint64_t* replayed;  // in a recording: where the kernel finds seed and stream, else null
  void* out;
  int64_t items() const { return size; }
  int64_t grain() const { return 1 << 14; }
};

struct RandomTable {
  static constexpr const char* name = "random";
  PerDtype<Kernel<RandomFill>> uniform, normal;
};

}  // namespace pyformer
