// matmul, vector code for one instruction set. Operands lie in panels, packed if need be, a micro-kernel
// (matmul_tile.h) makes one tile of C at a time in L1, and the epilogue writes it out. Every output is the sum of
// matmul_ref.cpp, chain by chain. Products of few rows by row-major weights transpose the weights in registers instead.
#include "pyformer/ops/matmul/matmul_epilogue.h"
#include "pyformer/ops/matmul/matmul_pack.h"
#include "pyformer/ops/matmul/matmul_tile.h"

namespace pyformer::PF_ISA {

// Where vectors lie across the source, panels take turns every few k: neighbours share cache lines and pages.
constexpr int64_t kPackDepth = 32;

// Packs panels [begin, end); extent(p) gives panel p's first vector, its vectors and its width when packed.
template <class T, class Extent>
static void pack_panels(const MatmulPack& g, int64_t begin, int64_t end, const Extent& extent) {
  const int64_t step = g.k_stride == 1 ? g.k : kPackDepth, origin = extent(g.first).start;
  for (int64_t start = 0; start < g.k; start += step) {
    const int64_t depth = g.k - start < step ? g.k - start : step;
    for (int64_t p = begin; p < end; ++p) {
      const auto panel = extent(p);
      pack_panel(static_cast<const T*>(g.source) + panel.start * g.stride + start * g.k_stride, g.stride, g.k_stride,
                 panel.count, depth, panel.width,
                 static_cast<T*>(g.packed) + (panel.start - origin) * g.k + start * panel.width);
    }
  }
}

struct PanelExtent {
  int64_t start, count, width;
};

template <class T>
static void pack_a(const MatmulPack& g, int64_t begin, int64_t end) {
  pack_panels<T>(g, begin, end, [&](int64_t p) {
    const int64_t start = panel_begin(p, g.panels, g.count), count = panel_begin(p + 1, g.panels, g.count) - start;
    return PanelExtent{start, count, count};
  });
}

template <class T>
static void pack_b(const MatmulPack& g, int64_t begin, int64_t end) {
  pack_panels<T>(g, begin, end, [&](int64_t p) {
    const int64_t start = p * kTileCols<T>, left = g.count - start;
    return PanelExtent{start, left < kTileCols<T> ? left : kTileCols<T>, kTileCols<T>};
  });
}

static bool is_plain(const Epilogue& e) {
  return e.activation == Activation::none && !e.preactivation && !e.factor && !e.residual;
}
// A whole tile that at most a bias is added to.
template <class T>
static void store_plain(const T* tile, int64_t tile_stride, int64_t rows, const T* bias, T* c, int64_t c_stride) {
  constexpr int64_t width = Vec<T>::width;
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < kTileCols<T>; j += width) {
      const Vec<T> sum = Vec<T>::load(tile + i * tile_stride + j);
      (bias ? sum + Vec<T>::load(bias + j) : sum).store(c + i * c_stride + j);
    }
}

// Writes a finished tile, whose rows are `tile_stride` apart, through the epilogue.
template <class T>
static void store_tile(const Epilogue& e, const T* tile, int64_t tile_stride, int64_t row, int64_t rows, int64_t col,
                       int64_t cols, T* c, int64_t c_stride) {
  constexpr int64_t width = Vec<T>::width;
  if (cols == kTileCols<T> && is_plain(e))
    return store_plain(tile, tile_stride, rows, e.bias ? static_cast<const T*>(e.bias) + col : nullptr,
                       c + row * c_stride + col, c_stride);
  with_activation(e.activation, [&]<class F>() {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < cols; j += width) {
        const int64_t n = cols - j, at = (row + i) * c_stride + col + j;
        const Vec<T> sum = Vec<T>::load(tile + i * tile_stride + j);
        const T* bias = static_cast<const T*>(e.bias) + col + j;
        if (n >= width) {
          const auto load = [&](const void* m) { return Vec<T>::load(static_cast<const T*>(m) + at); };
          const auto store = [&](void* m, Vec<T> x) { x.store(static_cast<T*>(m) + at); };
          store(c, finish<F>(e, sum, [&] { return Vec<T>::load(bias); }, load, store));
        } else {
          const auto load = [&](const void* m) { return Vec<T>::load_partial(static_cast<const T*>(m) + at, n); };
          const auto store = [&](void* m, Vec<T> x) { x.store_partial(static_cast<T*>(m) + at, n); };
          store(c, finish<F>(e, sum, [&] { return Vec<T>::load_partial(bias, n); }, load, store));
        }
      }
  });
}

template <class T>
static void load_tile(T* tile, const T* c, int64_t c_stride, int64_t rows, int64_t cols) {
  constexpr int64_t width = Vec<T>::width;
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < cols; j += width) {
      const T* from = c + i * c_stride + j;
      (cols - j >= width ? Vec<T>::load(from) : Vec<T>::load_partial(from, cols - j))
          .store(tile + i * kTileCols<T> + j);
    }
}

// Asks for the lines of C that a tile will be written to while the tile is computed: 4% of a small training step.
template <class T>
static void prefetch_rows(const T* c, int64_t c_stride, int64_t rows, int64_t cols) {
  for (int64_t i = 0; i < rows; ++i) {
    __builtin_prefetch(c + i * c_stride, 1);
    __builtin_prefetch(c + i * c_stride + cols - 1, 1);
  }
}

// Tiles of six rows read rows that lie along k in place; for those of fourteen there are not as many addresses.
constexpr bool kReadsRows = kVectorBytes == 32;

template <class T>
static TileFunction<T> tile_function(int64_t rows, bool whole, bool along) {
  constexpr int vectors = kTileVectors<T>;
  if (along) return whole ? tile_function<T, vectors, kReadsRows>(rows) : tile_function<T, 1, kReadsRows>(rows);
  return whole ? tile_function<T, vectors>(rows) : tile_function<T, 1>(rows);
}

template <class T>
static void multiply_panels(const MatmulMultiply& g, int64_t row_panel, int64_t col_panel) {
  constexpr int64_t width = Vec<T>::width;
  const int64_t row = panel_begin(row_panel, g.row_panels, g.m);
  const int64_t rows = panel_begin(row_panel + 1, g.row_panels, g.m) - row;
  const int64_t col = col_panel * kTileCols<T>, cols = g.n - col < kTileCols<T> ? g.n - col : kTileCols<T>;
  const bool along = kReadsRows && g.a_row_stride;
  const int64_t a_stride = along ? g.a_row_stride : g.a_k_stride ? g.a_k_stride : rows;
  const int64_t a_row = row - panel_begin(g.a_first, g.row_panels, g.m);
  const T* a = static_cast<const T*>(g.a) + a_row * (along ? g.a_row_stride : g.a_k_stride ? 1 : g.k);
  const T* b = static_cast<const T*>(g.b) + (col_panel - g.b_first) * g.b_stride;
  alignas(64) T tile[kTileRows<T> * kTileCols<T>];
  T* partial = static_cast<T*>(g.partial) + row * g.c_stride + col;
  prefetch_rows(g.last ? static_cast<const T*>(g.c) + row * g.c_stride + col : partial, g.c_stride, rows, cols);
  if (!g.first) load_tile(tile, partial, g.c_stride, rows, cols);
  const auto function = tile_function<T>(rows, cols > width, along);
  function(a, a_stride, b, g.b_k_stride, g.k, tile, g.first);
  if (g.last)
    store_tile(g.epilogue, tile, kTileCols<T>, row, rows, col, cols, static_cast<T*>(g.c), g.c_stride);
  else
    store_tile(Epilogue(), tile, kTileCols<T>, 0, rows, 0, cols, partial, g.c_stride);
}

template <class T>
static void multiply(const MatmulMultiply& g, int64_t begin, int64_t end) {
  if (g.rows_outer) {
    for (int64_t row_panel = begin; row_panel < end; ++row_panel)
      for (int64_t col_panel = g.col_begin; col_panel < g.col_end; ++col_panel)
        multiply_panels<T>(g, row_panel, col_panel);
  } else {
    for (int64_t col_panel = g.col_begin; col_panel < g.col_end; ++col_panel)
      for (int64_t row_panel = begin; row_panel < end; ++row_panel) multiply_panels<T>(g, row_panel, col_panel);
  }
}

// ---- few rows -------------------------------------------------------------------------------------------------

template <class T>
constexpr int kThinRows = kVectorBytes == 64 && sizeof(T) == 4 ? 14 : 4;

// One vector of columns for all rows: a square of op(B) is transposed in registers, then each of its rows is used.
template <class T, int rows>
static void thin_tile(const T* a, const T* b, int64_t b_stride, int64_t cols, int64_t k, T* tile) {
  constexpr int64_t width = Vec<T>::width;
  const T* row[width];
  for (int64_t j = 0; j < width; ++j) row[j] = b + (j < cols ? j : cols - 1) * b_stride;
  Vec<T> total[rows];
  for (int i = 0; i < rows; ++i) total[i] = Vec<T>::zero();
  for (int64_t start = 0; start < k; start += kChainLength) {
    const int64_t stop = start + kChainLength < k ? start + kChainLength : k;
    Vec<T> sum[rows];
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) sum[i] = Vec<T>::zero();
    int64_t p = start;
    for (; p + width <= stop; p += width) {
      Vec<T> square[width];
#pragma GCC unroll 16
      for (int64_t j = 0; j < width; ++j) square[j] = Vec<T>::load(row[j] + p);
      transpose(square);
#pragma GCC unroll 16
      for (int64_t j = 0; j < width; ++j)
#pragma GCC unroll 16
        for (int i = 0; i < rows; ++i) sum[i] = fma(Vec<T>::broadcast(a[(p + j) * rows + i]), square[j], sum[i]);
    }
    for (; p < stop; ++p) {
      Vec<T> column;
      for (int64_t j = 0; j < width; ++j) column.r[j] = row[j][p];
      for (int i = 0; i < rows; ++i) sum[i] = fma(Vec<T>::broadcast(a[p * rows + i]), column, sum[i]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) total[i] = start == 0 ? sum[i] : total[i] + sum[i];
  }
  for (int i = 0; i < rows; ++i) total[i].store(tile + i * width);
}

template <class T, int rows = kThinRows<T>>
static auto thin_function(int64_t wanted) {
  if constexpr (rows > 1)
    if (wanted < rows) return thin_function<T, rows - 1>(wanted);
  return thin_tile<T, rows>;
}

template <class T>
static void thin(const MatmulThin& g, int64_t begin, int64_t end) {
  constexpr int64_t width = Vec<T>::width;
  const auto function = thin_function<T>(g.m);
  for (int64_t item = begin; item < end; ++item) {
    const int64_t col = item * width, cols = g.n - col < width ? g.n - col : width;
    alignas(64) T tile[kThinRows<T> * width];
    function(static_cast<const T*>(g.a), static_cast<const T*>(g.b) + col * g.b_stride, g.b_stride, cols, g.k, tile);
    store_tile(g.epilogue, tile, width, 0, g.m, col, cols, static_cast<T*>(g.c), g.c_stride);
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const MatmulTable& KernelsOf<MatmulTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr MatmulTable table = {.tile_rows = {{kTileRows<float>, kTileRows<double>}},
                                        .tile_cols = {{kTileCols<float>, kTileCols<double>}},
                                        .thin_rows = {{kThinRows<float>, kThinRows<double>}},
                                        .vector_width = {{Vec<float>::width, Vec<double>::width}},
                                        .reads_rows = {{kReadsRows, kReadsRows}},
                                        .pack_a = {{pack_a<float>, pack_a<double>}},
                                        .pack_b = {{pack_b<float>, pack_b<double>}},
                                        .multiply = {{multiply<float>, multiply<double>}},
                                        .thin = {{thin<float>, thin<double>}},
                                        .rows = {}};
  return table;
}
}  // namespace pyformer
