// What the kernels of products of bfloat16 see. op(A) is m vectors along k, its rows; op(B) is n, its columns. Panels
// hold tile_rows or tile_cols of them, the last one and the last of its steps of kBFloat16Block k filled up with +0;
// how a step of a panel lies in memory is the set's own.
#pragma once
#include "pyformer/base/kernel.h"
#include "pyformer/ops/matmul/matmul_kernels.h"

namespace pyformer {

// Vectors along k that lie in an array of bfloat16, or of float32 to be rounded to it.
struct BFloat16Vectors {
  const void* data;
  int64_t count, stride, k_stride;  // between vectors, and along k; one of them is 1
  bool wide = false;                // float32
  int64_t item_bytes() const { return wide ? 4 : 2; }
};

// Work item: one panel.
struct BFloat16Pack {
  BFloat16Vectors source;
  int64_t k;
  bool is_rows;
  void* packed;          // where panel 0 goes
  int64_t panel_stride;  // bytes
};

// Work item: one panel of the streamed side, multiplied with panels [resident_first, resident_end) of the resident one.
struct BFloat16Multiply {
  int64_t m, n, k;  // k of this block
  bool streams_rows;
  BFloat16Vectors streamed;     // from this block's k on
  const void* streamed_panels;  // the same packed, panel 0; null: each is packed into `scratch` first
  int64_t streamed_stride;      // bytes between panels
  void* scratch;
  const void* resident;  // packed, panel resident_first
  int64_t resident_stride, resident_first, resident_end;
  bool first, last;   // is this the first, the last block of k?
  bool continue_sum;  // the first block's sums follow those that C holds
  float* partial;     // sums between blocks of k, from the first streamed and resident panel on; null: one block
  int64_t partial_stride;
  int64_t partial_first;  // streamed panel
  void* c;
  int64_t c_stride;
  bool wide_c;
  bool nontemporal;  // results go past the caches: registers are whole and aligned
  Epilogue epilogue;
};

// Work item: as many columns as a register holds. At most thin_rows rows against vectors along k of bfloat16, which are
// read as they lie, once.
struct BFloat16Thin {
  int64_t m, n, k;
  const float* a;  // rounded, rows of whole blocks of k filled up with +0, side by side
  const void* b;
  int64_t b_stride;
  void* c;
  int64_t c_stride;
  bool wide_c;
  Epilogue epilogue;
};

// A panel of rows with a panel of columns, between begin and end: Unit::tile of bfloat16_product_loop.h.
using BFloat16Tile = void (*)(const void* a, const void* b, int64_t steps, float* c, int64_t c_stride, int64_t rows,
                              int64_t cols, bool fresh, bool rows_pass);

struct BFloat16ProductTable {
  static constexpr const char* name = "bfloat16_product";
  static constexpr bool products = true;
  PerDtype<int64_t> tile_rows, tile_cols;
  PerDtype<int64_t> row_step_bytes, col_step_bytes;  // of a panel's kBFloat16Block k
  PerDtype<int64_t> block_bytes;                     // what a task keeps packed while the other side passes by
  PerDtype<int64_t> task_products;                   // multiply-adds below which handing out costs more than it gains
  PerDtype<Kernel<BFloat16Pack>> pack;
  PerDtype<Kernel<BFloat16Multiply>> multiply;
  PerDtype<int64_t> thin_rows;
  PerDtype<Kernel<BFloat16Thin>> thin;
  // For programs that are made of tiles.
  PerDtype<void (*)()> begin, end;  // of a thread's share
  PerDtype<BFloat16Tile> tile;
};

}  // namespace pyformer
