// All kernel tables there are, for whoever looks through them: `pyformer info --kernels`, and devices that take over
// the CPU's kernels.
#pragma once
#include <vector>

#include "pyformer/base/kernel.h"

namespace pyformer {

struct KernelTableRow {
  const char* op;
  int64_t bytes;                     // PerDtype rows one after another, kDTypeCount entries each
  const void* (*table_of)(Isa isa);  // null: not built
};
const std::vector<KernelTableRow>& kernel_tables();

// The CPU's table of that op, size and set; null: there is none.
const void* kernel_table(const char* op, int64_t bytes, Isa isa);

}  // namespace pyformer
