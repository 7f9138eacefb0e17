#include "pyformer/cuda/kernel_tables.h"

#include <cstring>

#include "pyformer/core/arithmetic/arithmetic_kernels.h"
#include "pyformer/ops/activation/activation_kernels.h"
#include "pyformer/ops/adamw/adamw_kernels.h"
#include "pyformer/ops/attention/attention_kernels.h"
#include "pyformer/ops/bce_with_logits/bce_with_logits_kernels.h"
#include "pyformer/ops/bspline/bspline_kernels.h"
#include "pyformer/ops/cache_append/cache_append_kernels.h"
#include "pyformer/ops/cfc/cfc_kernels.h"
#include "pyformer/ops/conv/conv_kernels.h"
#include "pyformer/ops/cross_entropy/cross_entropy_kernels.h"
#include "pyformer/ops/dropout/dropout_kernels.h"
#include "pyformer/ops/elementwise/elementwise_kernels.h"
#include "pyformer/ops/embedding/embedding_kernels.h"
#include "pyformer/ops/gather/gather_kernels.h"
#include "pyformer/ops/global_norm/global_norm_kernels.h"
#include "pyformer/ops/gru/gru_kernels.h"
#include "pyformer/ops/in_place/in_place_kernels.h"
#include "pyformer/ops/linear/linear_kernels.h"
#include "pyformer/ops/linear_cross_entropy/linear_cross_entropy_kernels.h"
#include "pyformer/ops/loss/loss_kernels.h"
#include "pyformer/ops/lstm/lstm_kernels.h"
#include "pyformer/ops/matmul/gemm_kernels.h"
#include "pyformer/ops/norm/norm_kernels.h"
#include "pyformer/ops/norm_planes/norm_planes_kernels.h"
#include "pyformer/ops/pool/pool_kernels.h"
#include "pyformer/ops/random/random_kernels.h"
#include "pyformer/ops/reduce/reduce_kernels.h"
#include "pyformer/ops/retention/retention_kernels.h"
#include "pyformer/ops/rope/rope_kernels.h"
#include "pyformer/ops/sgd/sgd_kernels.h"
#include "pyformer/ops/softmax/softmax_kernels.h"
#include "pyformer/ops/topk/topk_kernels.h"

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
    row<ActivationTable>(),
    row<AdamWTable>(),
    row<ArithmeticTable>(),
    row<AttentionTable>(),
    row<BceTable>(),
    row<BsplineTable>(),
    row<CacheAppendTable>(),
    row<CfcTable>(),
    row<ConvTable>(),
    row<CrossEntropyTable>(),
    row<DropoutTable>(),
    row<ElementwiseTable>(),
    row<EmbeddingTable>(),
    row<GatherTable>(),
    row<GemmTable>(),
    row<GlobalNormTable>(),
    row<GruTable>(),
    row<InPlaceTable>(),
    row<LinearCrossEntropyTable>(),
    row<LinearTable>(),
    row<LossTable>(),
    row<LstmTable>(),
    row<NormPlanesTable>(),
    row<PoolTable>(),
    row<RandomTable>(),
    row<ReduceTable>(),
    row<RetentionTable>(),
    row<RopeTable>(),
    row<RowNormTable>(),
    row<SgdTable>(),
    row<SoftmaxTable>(),
    row<TopkTable>(),
};
// clang-format on

}  // namespace

const void* kernel_table(const char* op, int64_t bytes) {
  for (const Row& row : kRows)
    if (!std::strcmp(row.op, op) && row.bytes == bytes) return row.table();
  return nullptr;
}

}  // namespace pyformer::cuda
