// The kernel tables of this library. An op's <op>_cuda.cu ends with its own:
//
//   template <>
//   const SoftmaxTable& cuda_table<SoftmaxTable>() { ... }
//
// and has a line in kernel_tables.cpp.
#pragma once
#include <cstdint>

namespace pyformer::cuda {

template <class Table>
const Table& cuda_table();

// The table of that op and size, or null.
const void* kernel_table(const char* op, int64_t bytes);

}  // namespace pyformer::cuda
