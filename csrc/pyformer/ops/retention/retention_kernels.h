// What retention's kernels see.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

// The one work item: all heads.
struct RetentionCheck {
  int64_t heads;
  const void* decay;  // (H,)
  int64_t* offender;  // the first head whose decay is not in (0, 1], and the decay's bits as a double; head -1: none
  int64_t items() const { return 1; }
  int64_t grain() const { return 1; }
};

// A walk along the tokens of each head with a matrix S of (rows, cols), from the first token on or from the last:
//
//   forwards    S = g S + a^T b, out = r S          backwards    S = S + a^T b, out = r S, S = g S
//
// S is float64; the entry's dtype is that of the others.
// Work item: a range of kColumns of the columns of one head.
struct RetentionWalk {
  static constexpr int64_t kColumns = 32;
  static constexpr int kTokens = 4;          // that vector code takes each time it reads S
  int64_t batch, tokens, heads, rows, cols;  // B, T, H
  bool backwards;
  const void* decay;    // (H,): g
  const void* a;        // (B, T, H, rows)
  const void* b;        // (B, T, H, cols)
  const void* r;        // (B, T, H, rows)
  const double* start;  // (B, H, rows, cols) by these steps, or null: zeros
  int64_t start_row, start_col;
  void* out;                // (B, T, H, cols)
  double* end;              // (B, H, rows, cols): the last S
  void* scratch = nullptr;  // of vector code
  int64_t column_ranges() const { return (cols + kColumns - 1) / kColumns; }
  int64_t items() const { return batch * heads * column_ranges(); }
  int64_t grain() const { return tokens < 1024 ? grain_of_rows(tokens * rows) : 1; }
  int64_t scratch_bytes(DType) const { return rows * (kColumns + 2 * kTokens) * int64_t(sizeof(double)); }
};

struct RetentionTable {
  static constexpr const char* name = "retention";
  PerDtype<Kernel<RetentionCheck>> check;
  PerDtype<Kernel<RetentionWalk>> walk;
};

}  // namespace pyformer
