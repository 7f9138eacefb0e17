#include "pyformer/ops/kernel_tables.h"

#include <cstring>

#include "pyformer/base/run.h"
#include "pyformer/core/arithmetic/arithmetic_kernels.h"
#include "pyformer/ops/activation/activation_kernels.h"
#include "pyformer/ops/bspline/bspline_kernels.h"
#include "pyformer/ops/cfc/cfc_kernels.h"
#include "pyformer/ops/conv/conv_kernels.h"
#include "pyformer/ops/elementwise/elementwise_kernels.h"
#include "pyformer/ops/gru/gru_kernels.h"
#include "pyformer/ops/layer_norm/layer_norm_kernels.h"
#include "pyformer/ops/linear/linear_kernels.h"
#include "pyformer/ops/lstm/lstm_kernels.h"
#include "pyformer/ops/matmul/gemm.h"
#include "pyformer/ops/norm_planes/norm_planes_kernels.h"
#include "pyformer/ops/pool/pool_kernels.h"
#include "pyformer/ops/reduce/reduce_kernels.h"
#include "pyformer/ops/rms_norm/rms_norm_kernels.h"

namespace pyformer {

template <class Table>
static KernelTableRow row() {
  return {Table::name, sizeof(Table), [](Isa isa) -> const void* { return host_tables<Table>()[size_t(isa)]; }};
}

const std::vector<KernelTableRow>& kernel_tables() {
  // clang-format off: a line each
  static const std::vector<KernelTableRow> rows = {
      row<ActivationTable>(),
      row<ArithmeticTable>(),
      row<BsplineTable>(),
      row<CfcStepTable>(),
      row<CfcTable>(),
      row<ConvSumsTable>(),
      row<ConvTable>(),
      row<ElementwiseTable>(),
      row<GemmTable>(),
      row<GruStepTable>(),
      row<GruTable>(),
      row<LayerNormTable>(),
      row<LinearTable>(),
      row<LstmStepTable>(),
      row<LstmTable>(),
      row<NormPlanesTable>(),
      row<PoolTable>(),
      row<ReduceTable>(),
      row<RmsNormTable>(),
  };
  // clang-format on
  return rows;
}

const void* kernel_table(const char* op, int64_t bytes, Isa isa) {
  for (const KernelTableRow& row : kernel_tables())
    if (!std::strcmp(row.op, op) && row.bytes == bytes) return row.table_of(isa);
  return nullptr;
}

}  // namespace pyformer
