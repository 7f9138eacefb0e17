// What matmul's kernels see. An operand is a set of vectors along k: the m rows of op(A), or the n columns of op(B).
#pragma once
#include "pyformer/base/kernel.h"
#include "pyformer/ops/activation/activation_kind.h"
#include "pyformer/ops/matmul/panels.h"

namespace pyformer {

// What happens to a finished sum, in this order. All is of C's dtype; matrices have its shape and strides.
struct Epilogue {
  const void* bias = nullptr;  // (n,): value += bias
  Activation activation = Activation::none;
  void* preactivation = nullptr;   // out: the value before the activation
  const void* factor = nullptr;    // value = times_slope(value, factor)
  const void* residual = nullptr;  // value += residual; may be C itself: accumulation
};

// Work item: one output row. Plain loops, no packing.
struct MatmulRows {
  int64_t n, k;
  const void* a;
  const void* b;
  int64_t a_stride, a_k_stride;  // of op(A)'s rows
  int64_t b_stride, b_k_stride;  // of op(B)'s columns
  bool wide_a, wide_b;           // float32, rounded to the operands' dtype, bfloat16
  void* c;
  int64_t c_stride;
  bool wide_c;        // c and what the epilogue reads are of the accumulator's dtype
  bool continue_sum;  // after the sum that c holds
  Epilogue epilogue;
};

// Work item: one panel. Panels of A hold tile_rows vectors or fewer, all about the same number, as [k][vectors];
// panels of B hold tile_cols vectors, the last one filled up with zeros, as [k][tile_cols].
struct MatmulPack {
  const void* source;
  int64_t stride, k_stride;  // between vectors, and along k; one of them is 1
  int64_t count, panels, k;  // vectors, panels they make, length
  void* packed;              // where panel `first` goes
  int64_t first;
};

// Work item: one panel of rows, multiplied with panels [col_begin, col_end) of B. Either operand may be read where it
// lies instead of packed, if its vectors lie across it, A also if it is one row and, where reads_rows, if its rows lie
// along k; B's rows must then be whole registers.
struct MatmulMultiply {
  int64_t m, n, k, row_panels;
  const void* a;                // starts at panel a_first
  int64_t a_first, a_k_stride;  // 0: packed, or
  int64_t a_row_stride;         // not 0: rows lie along k, so far apart
  const void* b;                // starts at panel b_first, panels b_stride elements apart
  int64_t b_first, b_stride, b_k_stride;
  int64_t col_begin, col_end;
  bool rows_outer;   // loop order: the inner loop's panels stay in cache
  bool first, last;  // is this the first, the last block of k?
  void* partial;     // (m, n) with c_stride: sums between blocks of k
  void* c;
  int64_t c_stride;
  Epilogue epilogue;
};

// Work item: vector_width columns. At most thin_rows rows against vectors along k that are contiguous: op(B) is
// transposed in registers as it passes, and never packed.
struct MatmulThin {
  int64_t m, n, k;
  const void* a;  // packed as one panel, [k][m]
  const void* b;  // (n, k)
  int64_t b_stride;
  void* c;
  int64_t c_stride;
  Epilogue epilogue;
};

// What gemm's programs for the CPU (gemm_program.cpp) are made of; no other op looks into it.
struct MatmulTable {
  static constexpr const char* name = "matmul";
  PerDtype<int64_t> tile_rows, tile_cols, thin_rows, vector_width;
  PerDtype<bool> reads_rows;  // multiply takes rows of A that lie along k where they lie
  PerDtype<Kernel<MatmulPack>> pack_a, pack_b;
  PerDtype<Kernel<MatmulMultiply>> multiply;
  PerDtype<Kernel<MatmulThin>> thin;
  PerDtype<Kernel<MatmulRows>> rows;  // the only kernel of the set ref, which has no others
};

}  // namespace pyformer
