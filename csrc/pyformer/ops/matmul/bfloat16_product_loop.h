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
//   Unit::kIsSeparate                   a unit of its own computes tiles: tile() takes a Meanwhile too and calls its
//                                       step() `steps` times, as the vector units have nothing to do
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

// Lines to be asked for, in runs of at most 128 bytes.
struct LinesAhead {
  const char* at;
  int64_t stride, runs, bytes;
  template <int write, int locality>
  PF_INLINE void ask(int64_t n) {
    for (; n > 0 && runs > 0; --n, --runs, at += stride) {
      __builtin_prefetch(at, write, locality);
      __builtin_prefetch(at + bytes - 1, write, locality);
    }
  }
};

// What is done for the tiles before and after one while that is computed: the sums of the one before go through the
// epilogue to C, and the lines of C that this one goes to and those of the next packed panel are asked for. All of it
// in one burst would have the loads of the tile wait.
class Meanwhile {
 public:
  explicit Meanwhile(const BFloat16Multiply& g) : g_(g) {}

  void ask_for_c(int64_t row, int64_t rows, int64_t col, int64_t cols) {
    const int64_t item = g_.wide_c ? 4 : 2;
    c_ = {static_cast<const char*>(g_.c) + (row * g_.c_stride + col) * item, g_.c_stride * item, rows, cols * item};
  }
  // Part `part` of `parts` of a packed panel.
  void ask_for_packed(const char* panel, int64_t bytes, int64_t part, int64_t parts) {
    constexpr int64_t kLineBytes = 64;
    const int64_t first = bytes * part / parts / kLineBytes, last = bytes * (part + 1) / parts / kLineBytes;
    packed_ = {panel + first * kLineBytes, 2 * kLineBytes, (last - first + 1) / 2, 2 * kLineBytes};
  }
  void store_next(const float* sums, int64_t stride, int64_t row, int64_t rows, int64_t col, int64_t cols) {
    sums_ = sums, stride_ = stride, row_ = row, rows_ = rows, col_ = col, cols_ = cols;
  }

  void begin(int64_t steps) {
    const auto share = [&](int64_t n) { return steps ? (n + steps - 1) / steps : n; };
    store_share_ = share(rows_), c_share_ = share(c_.runs), packed_share_ = share(packed_.runs);
  }
  __attribute__((noinline)) void step() {
    c_.ask<1, 3>(c_share_);
    packed_.ask<0, 2>(packed_share_);
    if (rows_ > 0) store(store_share_ < rows_ ? store_share_ : rows_);
  }
  void finish() {
    if (rows_ > 0) store(rows_);
  }

 private:
  void store(int64_t rows) {
    g_.wide_c ? store_sums<float>(g_, sums_, stride_, row_, rows, col_, cols_)
              : store_sums<BFloat16>(g_, sums_, stride_, row_, rows, col_, cols_);
    sums_ += rows * stride_, row_ += rows, rows_ -= rows;
  }

  const BFloat16Multiply& g_;
  LinesAhead c_ = {}, packed_ = {};
  const float* sums_ = nullptr;
  int64_t stride_ = 0, row_ = 0, rows_ = 0, col_ = 0, cols_ = 0;
  int64_t store_share_ = 0, c_share_ = 0, packed_share_ = 0;
};

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

  // One tile of C: a panel of A with a panel of B. Its sums are left to `meanwhile` to be stored.
  static void multiply_panels(const BFloat16Multiply& g, int64_t row_panel, int64_t col_panel, const void* a,
                              const void* b, float* sums, int64_t stride, Meanwhile& meanwhile) {
    const int64_t row = row_panel * Unit::kRows, rows = left(row, Unit::kRows, g.m);
    const int64_t col = col_panel * Unit::kCols, cols = left(col, Unit::kCols, g.n), steps = steps_of(g.k);
    const bool fresh = g.first && !g.continue_sum;
    if (g.last && !g.nontemporal) meanwhile.ask_for_c(row, rows, col, cols);
    if (g.first && g.continue_sum) load_sums(g, sums, stride, row, rows, col, cols);
    meanwhile.begin(Unit::kIsSeparate ? steps : 0);
    if constexpr (Unit::kIsSeparate) {
      Unit::tile(a, b, steps, sums, stride, rows, cols, fresh, !g.streams_rows, &meanwhile);
      meanwhile.finish();
    } else {
      meanwhile.step();
      Unit::tile(a, b, steps, sums, stride, rows, cols, fresh, !g.streams_rows);
    }
    if (g.last) meanwhile.store_next(sums, stride, row, rows, col, cols);
    if (!Unit::kIsSeparate) meanwhile.finish();
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
    alignas(64) float own[2][Unit::kRows * Unit::kCols];  // of a tile, and of the one before, which is being stored
    Meanwhile meanwhile(g);
    for (int64_t s = begin, tiles = 0; s < end; ++s) {
      const void* const streamed = streamed_panel(g, s);
      for (int64_t r = g.resident_first; r < g.resident_end; ++r, ++tiles) {
        const int64_t next = (s + 1) * tile;
        if (s + 1 < end && g.streamed_panels && parts >= kFewParts)  // in a burst it would only delay the tiles
          meanwhile.ask_for_packed(static_cast<const char*>(streamed) + g.streamed_stride, steps_of(g.k) * step,
                                   r - g.resident_first, parts);
        else if (s + 1 < end && !g.streamed_panels)
          prefetch_panel(g.streamed, next, left(next, tile, g.streamed.count), g.k, r - g.resident_first, parts);
        const void* const resident = static_cast<const char*>(g.resident) + (r - g.resident_first) * g.resident_stride;
        float* const partial = partial_of(g, s, r);
        float* const sums = partial ? partial : own[tiles % 2];
        const int64_t stride = partial ? g.partial_stride : Unit::kCols;
        g.streams_rows ? multiply_panels(g, s, r, streamed, resident, sums, stride, meanwhile)
                       : multiply_panels(g, r, s, resident, streamed, sums, stride, meanwhile);
      }
    }
    meanwhile.finish();
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
    t.tile.entries[at] = [](const void* a, const void* b, int64_t steps, float* c, int64_t c_stride, int64_t rows,
                            int64_t cols, bool fresh,
                            bool rows_pass) { Unit::tile(a, b, steps, c, c_stride, rows, cols, fresh, rows_pass); };
    return t;
  }
};

}  // namespace pyformer::PF_ISA
