#include "pyformer/cuda/kernel_tables.h"

#include <cstring>

#include "pyformer/core/arithmetic/arithmetic_kernels.h"

namespace pyformer::cuda {

namespace {

struct Row {
  const char* op;
  int64_t bytes;
  const void* (*table)();
};
template <class Table>
constexpr Row row() {
  return {Table::name, sizeof(Table), []() -> const void* { return &cuda_table<Table>(); }};
}

// clang-format off: a line each
constexpr Row kRows[] = {
    row<ArithmeticTable>(),
};
// clang-format on

}  // namespace

const void* kernel_table(const char* op, int64_t bytes) {
  for (const Row& row : kRows)
    if (!std::strcmp(row.op, op) && row.bytes == bytes) return row.table();
  return nullptr;
}

}  // namespace pyformer::cuda
