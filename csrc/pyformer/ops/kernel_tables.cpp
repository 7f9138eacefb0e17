#include "pyformer/ops/kernel_tables.h"

#include <cstring>

#include "pyformer/base/run.h"
#include "pyformer/core/arithmetic/arithmetic_kernels.h"
#include "pyformer/ops/activation/activation_kernels.h"
#include "pyformer/ops/layer_norm/layer_norm_kernels.h"
#include "pyformer/ops/linear/linear_kernels.h"
#include "pyformer/ops/matmul/gemm.h"

namespace pyformer {

template <class Table>
static KernelTableRow row() {
  return {Table::name, sizeof(Table), [](Isa isa) -> const void* { return host_tables<Table>()[size_t(isa)]; }};
}

const std::vector<KernelTableRow>& kernel_tables() {
  static const std::vector<KernelTableRow> rows = {
      row<ActivationTable>(), row<ArithmeticTable>(), row<GemmTable>(), row<LayerNormTable>(), row<LinearTable>(),
  };
  return rows;
}

const void* kernel_table(const char* op, int64_t bytes, Isa isa) {
  for (const KernelTableRow& row : kernel_tables())
    if (!std::strcmp(row.op, op) && row.bytes == bytes) return row.table_of(isa);
  return nullptr;
}

}  // namespace pyformer
