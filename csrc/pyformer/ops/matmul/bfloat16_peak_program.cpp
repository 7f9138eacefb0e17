// The yardstick of products of bfloat16: one tile of C from panels that stay in L1.
#include <algorithm>
#include <vector>

#include "pyformer/base/error.h"
#include "pyformer/base/isa.h"
#include "pyformer/base/peak.h"
#include "pyformer/ops/matmul/bfloat16_product.h"
#include "pyformer/ops/matmul/bfloat16_product_kernels.h"

namespace pyformer {

static Isa best_set() {
  Isa best = Isa::ref;
  for (int i = 0; i < kIsaCount; ++i)
    if (is_supported(Isa(i))) best = Isa(i);
  return bfloat16_product_set(best);
}

double bfloat16_peak_gflops(int threads) {
  constexpr DType kType = DType::bfloat16;
  constexpr int64_t kPanelBytes = 16 << 10;  // of each side: both, and C, lie in L1
  struct alignas(64) Line {
    char bytes[64];
  };
  if (threads < 1 || threads > 1024)
    throw ValueError(cat("bfloat16_peak_gflops: threads must be 1 to 1024, got ", threads));
  const BFloat16ProductTable& t = *host_tables<BFloat16ProductTable>()[size_t(best_set())];
  if (!t.tile[kType]) return 0;
  const int64_t rows = t.tile_rows[kType], cols = t.tile_cols[kType];
  const int64_t steps = kPanelBytes / std::max(t.row_step_bytes[kType], t.col_step_bytes[kType]);
  const double rate = rounds_per_second(threads, [&](int, int64_t rounds) {
    const std::vector<Line> a(kPanelBytes / sizeof(Line)), b(kPanelBytes / sizeof(Line));
    std::vector<Line> c(size_t(rows * cols) * sizeof(float) / sizeof(Line) + 1);
    t.begin[kType]();
    for (int64_t i = 0; i < rounds; ++i)
      t.tile[kType](a.data(), b.data(), steps, reinterpret_cast<float*>(c.data()), cols, rows, cols, true, true);
    t.end[kType]();
  });
  return 1e-9 * rate * double(2 * rows * cols * steps * kBFloat16Block);
}

}  // namespace pyformer
