// Products of bfloat16 panel by panel, for a Unit, the code of one set:
//
//   Unit::kRows, kCols                  vectors of a panel
//   Unit::kRowStep, kColStep            bytes of a panel's 32 k
//   Unit::kBlockBytes, kTaskProducts    see the table
//   Unit::begin(), end()                around what a thread does with tiles
//   Unit::pack_rows, pack_cols(source vectors, count, k, packed)
//   Unit::tile(a, b, steps, c, c_stride, rows, cols, fresh, rows_pass)
//       c = or += the sum of bfloat16_dot.h over `steps` blocks of 32 k; it may write all of kRows x kCols. The next
//       call comes with another a and the same b where rows_pass, else with another b.
//
// What happens to a finished sum is matmul_epilogue.h's, in float32; c is rounded once.
#pragma once
#include "pyformer/base/bfloat16_vec.h"
#include "pyformer/ops/matmul/bfloat16_product_kernels.h"
#include "pyformer/ops/matmul/matmul_epilogue.h"

namespace pyformer::PF_ISA {

PF_INLINE const char* vector_of(const BFloat16Vectors& v, int64_t i) {
  return static_cast<const char*>(v.data) + i * v.stride * v.item_bytes();
}
// f(v.data) as a pointer to what is there.
template <class F>
PF_INLINE void with_elements(const BFloat16Vectors& v, const F& f) {
  v.wide ? f(static_cast<const Unrounded*>(v.data)) : f(static_cast<const BFloat16*>(v.data));
}
PF_INLINE int64_t steps_of(int64_t k) { return (k + kBFloat16Block - 1) / kBFloat16Block; }

// A register of one row, from element `at` of C on: n of its elements count.
template <class F, class C, class... N>
PF_INLINE void finish_strip(const BFloat16Multiply& g, const float* sums, int64_t col, int64_t at, N... n) {
  const auto load = [&](const void* m) { return load_widened(static_cast<const C*>(m) + at, n...); };
  const auto store = [&](void* m, Vec<float> x) {
    if constexpr (sizeof(C) == sizeof(float) && sizeof...(n) == 0)
      if (g.nontemporal) return x.store_nontemporal(static_cast<C*>(m) + at);
    store_rounded(x, static_cast<C*>(m) + at, n...);
  };
  const auto bias = [&] { return load_widened(static_cast<const C*>(g.epilogue.bias) + col, n...); };
  store(g.c, finish<F>(g.epilogue, Vec<float>::load(sums), bias, load, store));
}

// Sums of rows x cols, `stride` apart, through the epilogue to C.
template <class C>
static void store_sums(const BFloat16Multiply& g, const float* sums, int64_t stride, int64_t row, int64_t rows,
                       int64_t col, int64_t cols) {
  constexpr int64_t width = Vec<float>::width;
  with_activation(g.epilogue.activation, [&]<class F>() {
    for (int64_t i = 0; i < rows; ++i) {
      int64_t at = (row + i) * g.c_stride + col, j = 0;
      for (; j + width <= cols; j += width) finish_strip<F, C>(g, sums + i * stride + j, col + j, at + j);
      if (j < cols) finish_strip<F, C>(g, sums + i * stride + j, col + j, at + j, cols - j);
    }
  });
}

static void load_sums(const BFloat16Multiply& g, float* sums, int64_t stride, int64_t row, int64_t rows, int64_t col,
                      int64_t cols) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < cols; ++j)
      sums[i * stride + j] = static_cast<const float*>(g.c)[(row + i) * g.c_stride + col + j];
}

// Asks for the lines of C that a tile will be written to while the tile is computed.
static void prefetch_c(const BFloat16Multiply& g, int64_t row, int64_t rows, int64_t col, int64_t cols) {
  const int64_t bytes = g.wide_c ? 4 : 2;
  for (int64_t i = 0; i < rows; ++i) {
    const char* at = static_cast<const char*>(g.c) + ((row + i) * g.c_stride + col) * bytes;
    __builtin_prefetch(at, 1);
    __builtin_prefetch(at + cols * bytes - 1, 1);
  }
}

// Part `part` of `parts` of the lines that packing a panel will read.
static void prefetch_panel(const BFloat16Vectors& v, int64_t first, int64_t count, int64_t k, int64_t part,
                           int64_t parts) {
  constexpr int64_t kLineBytes = 64;
  const bool along = v.k_stride == 1;
  const int64_t runs = along ? count : k, bytes = (along ? k : count) * v.item_bytes();
  const int64_t step = (along ? v.stride : v.k_stride) * v.item_bytes();
  const char* start = vector_of(v, first);
  for (int64_t i = runs * part / parts; i < runs * (part + 1) / parts; ++i)
    for (int64_t j = 0; j < bytes; j += kLineBytes) __builtin_prefetch(start + i * step + j, 0, 2);
}

static void prefetch_packed(const char* panel, int64_t bytes, int64_t part, int64_t parts) {
  constexpr int64_t kLineBytes = 64;
  for (int64_t at = bytes * part / parts / kLineBytes * kLineBytes; at < bytes * (part + 1) / parts; at += kLineBytes)
    __builtin_prefetch(panel + at, 0, 2);
}

template <class Unit>
struct BFloat16Loop {
  struct Task {
    Task() { Unit::begin(); }
    ~Task() { Unit::end(); }
  };

  static constexpr int64_t vectors_of(bool is_rows) { return is_rows ? Unit::kRows : Unit::kCols; }
  static int64_t left(int64_t first, int64_t tile, int64_t count) {
    return count - first < tile ? count - first : tile;
  }

  // What lies across is read for all panels before the next k, as memory gives it, and asked for a step ahead.
  static void pack_across(const BFloat16Pack& g, int64_t begin, int64_t end) {
    const int64_t tile = vectors_of(g.is_rows), step = g.is_rows ? Unit::kRowStep : Unit::kColStep;
    BFloat16Vectors here = g.source, next = g.source;
    char* to = static_cast<char*>(g.packed);
    for (int64_t start = 0; start < g.k; start += kBFloat16Block, to += step) {
      const int64_t k = left(start, kBFloat16Block, g.k), after = left(start + k, kBFloat16Block, g.k);
      next.data = static_cast<const char*>(here.data) + k * here.k_stride * here.item_bytes();
      for (int64_t panel = begin; panel < end; ++panel) {
        prefetch_panel(next, panel * tile, left(panel * tile, tile, next.count), after, 0, 1);
        pack_panel(here, panel, g.is_rows, k, to + panel * g.panel_stride);
      }
      here.data = next.data;
    }
  }

  static void pack_panel(const BFloat16Vectors& source, int64_t panel, bool is_rows, int64_t k, void* packed) {
    const int64_t tile = vectors_of(is_rows), first = panel * tile;
    BFloat16Vectors v = source;
    v.data = vector_of(source, first);
    v.count = left(first, tile, source.count);
    is_rows ? Unit::pack_rows(v, k, packed) : Unit::pack_cols(v, k, packed);
  }

  static void pack(const BFloat16Pack& g, int64_t begin, int64_t end) {
    if (g.source.k_stride != 1 && end - begin > 1) return pack_across(g, begin, end);
    for (int64_t panel = begin; panel < end; ++panel)
      pack_panel(g.source, panel, g.is_rows, g.k, static_cast<char*>(g.packed) + panel * g.panel_stride);
  }

  // One tile of C: a panel of A with a panel of B.
  static void multiply_panels(const BFloat16Multiply& g, int64_t row_panel, int64_t col_panel, const void* a,
                              const void* b, float* partial) {
    alignas(64) float own[Unit::kRows * Unit::kCols];
    float* sums = partial ? partial : own;
    const int64_t stride = partial ? g.partial_stride : Unit::kCols;
    const int64_t row = row_panel * Unit::kRows, rows = left(row, Unit::kRows, g.m);
    const int64_t col = col_panel * Unit::kCols, cols = left(col, Unit::kCols, g.n);
    if (g.last && !g.nontemporal) prefetch_c(g, row, rows, col, cols);
    if (g.first && g.continue_sum) load_sums(g, sums, stride, row, rows, col, cols);
    Unit::tile(a, b, steps_of(g.k), sums, stride, rows, cols, g.first && !g.continue_sum, !g.streams_rows);
    if (!g.last) return;
    g.wide_c ? store_sums<float>(g, sums, stride, row, rows, col, cols)
             : store_sums<BFloat16>(g, sums, stride, row, rows, col, cols);
  }

  // Where the sums of a pair of panels wait between blocks of k.
  static float* partial_of(const BFloat16Multiply& g, int64_t streamed, int64_t resident) {
    if (!g.partial) return nullptr;
    const int64_t s = streamed - g.partial_first, r = resident - g.resident_first;
    return g.partial + (g.streams_rows ? s : r) * Unit::kRows * g.partial_stride +
           (g.streams_rows ? r : s) * Unit::kCols;
  }

  static const void* streamed_panel(const BFloat16Multiply& g, int64_t panel) {
    if (g.streamed_panels) return static_cast<const char*>(g.streamed_panels) + panel * g.streamed_stride;
    pack_panel(g.streamed, panel, g.streams_rows, g.k, g.scratch);
    return g.scratch;
  }

  static void multiply(const BFloat16Multiply& g, int64_t begin, int64_t end) {
    const Task task;
    const int64_t tile = vectors_of(g.streams_rows), parts = g.resident_end - g.resident_first;
    const int64_t step = g.streams_rows ? Unit::kRowStep : Unit::kColStep;
    constexpr int64_t kFewParts = 4;
    for (int64_t s = begin; s < end; ++s) {
      const void* const streamed = streamed_panel(g, s);
      for (int64_t r = g.resident_first; r < g.resident_end; ++r) {
        const int64_t next = (s + 1) * tile;
        if (s + 1 < end && g.streamed_panels && parts >= kFewParts)  // in a burst it would only delay the tiles
          prefetch_packed(static_cast<const char*>(streamed) + g.streamed_stride, steps_of(g.k) * step,
                          r - g.resident_first, parts);
        else if (s + 1 < end && !g.streamed_panels)
          prefetch_panel(g.streamed, next, left(next, tile, g.streamed.count), g.k, r - g.resident_first, parts);
        const void* const resident = static_cast<const char*>(g.resident) + (r - g.resident_first) * g.resident_stride;
        float* const partial = partial_of(g, s, r);
        g.streams_rows ? multiply_panels(g, s, r, streamed, resident, partial)
                       : multiply_panels(g, r, s, resident, streamed, partial);
      }
    }
    if (g.nontemporal) nontemporal_fence();
  }

  static constexpr BFloat16ProductTable table() {
    constexpr int at = int(DType::bfloat16);
    BFloat16ProductTable t = {};
    t.tile_rows.entries[at] = Unit::kRows;
    t.tile_cols.entries[at] = Unit::kCols;
    t.row_step_bytes.entries[at] = Unit::kRowStep;
    t.col_step_bytes.entries[at] = Unit::kColStep;
    t.block_bytes.entries[at] = Unit::kBlockBytes;
    t.task_products.entries[at] = Unit::kTaskProducts;
    t.pack.entries[at] = pack;
    t.multiply.entries[at] = multiply;
    t.begin.entries[at] = Unit::begin;
    t.end.entries[at] = Unit::end;
    t.tile.entries[at] = Unit::tile;
    return t;
  }
};

}  // namespace pyformer::PF_ISA
