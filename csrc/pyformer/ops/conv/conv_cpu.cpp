// conv, vector code for one instruction set. The terms of some rows of positions are gathered once, which unfolds x
// along its columns only; taps in other rows are reached by their offset. Sums are made a tile in registers at a time:
// vectors run along positions (dweight: along m), the other operand is broadcast. Order as in conv_ref.cpp.
#include "pyformer/ops/conv/conv_kernels.h"
#include "pyformer/ops/matmul/matmul_pack.h"
#include "pyformer/ops/matmul/panels.h"

namespace pyformer::PF_ISA {

template <class T>
constexpr int kVectors = 2;  // of a tile's row
template <class T>
constexpr int kTileRows = kVectorBytes == 64   ? sizeof(T) == 4 ? 14 : 8  // as in matmul_tile.h
                          : kVectorBytes == 32 ? 6
                                               : 4;

// ---- gathering ------------------------------------------------------------------------------------------------

// to[j] = from[start + j * step], 0 outside [0, limit)
template <class T>
static void copy_row(const T* from, int64_t start, int64_t step, int64_t limit, int64_t count, T* to) {
  constexpr int64_t width = Vec<T>::width;
  int64_t j = 0;
  for (; j < count && start + j * step < 0; ++j) to[j] = T(0);
  const int64_t end = start >= limit ? 0 : step == 1 ? limit - start : (limit - 1 - start) / step + 1;
  const int64_t stop = end < count ? end : count;
  from += start;
  if (step == 1) {
    for (; j + width <= stop; j += width) Vec<T>::load(from + j).store(to + j);
    if (j < stop) Vec<T>::load_partial(from + j, stop - j).store_partial(to + j, stop - j);
  } else if (step == 2) {
    for (int64_t i = j; i < stop; ++i) to[i] = from[2 * i];
  } else {
    for (int64_t i = j; i < stop; ++i) to[i] = from[i * step];
  }
  for (j = j < stop ? stop : j; j < count; ++j) to[j] = T(0);
}

// One slot: `count` rows of one channel's plane from y on, its columns shifted by dx.
template <class T>
static void gather_slot(const ConvWindow& w, const T* plane, int64_t dx, int64_t y, int64_t count, T* to) {
  if (w.cols == w.width && w.step_x == 1 && (w.step_y == 1 || w.width == 1)) {  // all rows at once, then the margins
    copy_row(plane, y * w.width + dx, w.step_y, w.height * w.width, count * w.cols, to);
    for (int64_t j = 0; j < w.cols; ++j)
      if (j + dx < 0 || j + dx >= w.width)
        for (int64_t r = 0; r < count; ++r) to[r * w.cols + j] = T(0);
    return;
  }
  for (int64_t r = 0; r < count; ++r, y += w.step_y) {
    const bool inside = y >= 0 && y < w.height;
    copy_row(inside ? plane + y * w.width : plane, dx, w.step_x, inside ? w.width : 0, w.cols, to + r * w.cols);
  }
}

// The terms of `channels` channels at `rows` rows of positions from `first` on.
template <class T>
static void gather(const ConvWindow& w, const T* x, int64_t channels, int64_t first, int64_t rows, T* to) {
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t tap_x = 0; tap_x < w.taps_x; ++tap_x)
      for (int64_t slot = 0; slot < w.slots; ++slot, to += w.plane_stride)
        gather_slot(w, x + c * w.height * w.width, w.dx[tap_x], first * w.step_y + w.slot_y[slot], rows + w.extra_rows,
                    to);
}

// ---- sums at positions ------------------------------------------------------------------------------------------

// tile[rows][vectors * width] = sum over k, in chains, of weight[k][rows] and the terms from each offset on.
template <class T, int rows, int vectors>
static void sum_tile(const T* weight, const T* terms, const int64_t* offset, int64_t K, T* tile) {
  constexpr int width = Vec<T>::width, cols = kVectors<T> * width;
  bool fresh = true;
  do {
    const int64_t chain = K < kChainLength ? K : kChainLength;
    Vec<T> sum[rows][vectors];
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sum[i][v] = Vec<T>::zero();
    for (int64_t k = 0; k < chain; ++k) {
      Vec<T> x[vectors];
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) x[v] = Vec<T>::load(terms + offset[k] + v * width);
#pragma GCC unroll 16
      for (int i = 0; i < rows; ++i) {
        const Vec<T> w = Vec<T>::broadcast(weight[i]);
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) sum[i][v] = fma(w, x[v], sum[i][v]);
      }
      weight += rows;
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        T* out = tile + i * cols + v * width;
        (fresh ? sum[i][v] : Vec<T>::load(out) + sum[i][v]).store(out);
      }
    fresh = false;
    offset += chain;
    K -= chain;
  } while (K > 0);
}

template <class T>
using SumTile = void (*)(const T* weight, const T* terms, const int64_t* offset, int64_t K, T* tile);

template <class T, int vectors, int rows = kTileRows<T>>
static SumTile<T> sum_function(int64_t wanted) {
  if constexpr (rows > 1)
    if (wanted < rows) return sum_function<T, vectors, rows - 1>(wanted);
  return sum_tile<T, rows, vectors>;
}

// Adds the bias and writes a tile whose first column is position p of the rows from `first` on.
template <class T>
static void store_sums(const ConvSum& a, const T* tile, const T* bias, int64_t rows, int64_t first, int64_t p,
                       int64_t count, T* out) {
  constexpr int width = Vec<T>::width, cols = kVectors<T> * width;
  const bool contiguous = a.out_col == 1 && a.out_row == a.window.cols;
  for (int64_t i = 0; i < rows; ++i, out += a.out_plane) {
    alignas(64) T line[cols];
    for (int64_t v = 0; v < count; v += width) {
      Vec<T> value = Vec<T>::load(tile + i * cols + v);
      if (bias) value = value + Vec<T>::broadcast(bias[i]);
      T* to = contiguous ? out + first * a.out_row + p + v : line + v;
      if (!contiguous || count - v >= width)
        value.store(to);
      else
        value.store_partial(to, count - v);
    }
    if (contiguous) continue;
    int64_t row = first + p / a.window.cols, col = p % a.window.cols;
    for (int64_t v = 0; v < count; ++row, col = 0) {
      const int64_t run = a.window.cols - col < count - v ? a.window.cols - col : count - v;
      T* to = out + row * a.out_row + col * a.out_col;
      for (int64_t j = 0; j < run; ++j) to[j * a.out_col] = line[v + j];
      v += run;
    }
  }
}

template <class T>
static void sum(const ConvSum& a, int64_t begin, int64_t end) {
  constexpr int64_t width = Vec<T>::width, cols = kVectors<T> * width;
  const ConvWindow& w = a.window;
  const int64_t K = w.channels * w.taps_y * w.taps_x, panels = (a.m + kTileRows<T> - 1) / kTileRows<T>;
  T* terms = static_cast<T*>(a.scratch);
  for (int64_t item = begin; item < end; ++item) {
    const int64_t image_group = item / a.row_blocks, group = image_group % a.groups;
    const int64_t first = item % a.row_blocks * a.block_rows;
    const int64_t rows = first + a.block_rows < w.rows ? a.block_rows : w.rows - first, positions = rows * w.cols;
    gather(w, static_cast<const T*>(a.x) + image_group * w.channels * w.height * w.width, w.channels, first, rows,
           terms);
    for (int64_t p = 0; p < positions; p += cols)
      for (int64_t panel = 0; panel < panels; ++panel) {
        const int64_t m = panel_begin(panel, panels, a.m), count = panel_begin(panel + 1, panels, a.m) - m;
        const bool one = positions - p <= width;
        alignas(64) T tile[kTileRows<T> * cols];
        (one ? sum_function<T, 1>(count) : sum_function<T, kVectors<T>>(count))(
            static_cast<const T*>(a.weight) + (group * a.m + m) * K, terms + p, w.offset, K, tile);
        store_sums(a, tile, a.bias ? static_cast<const T*>(a.bias) + group * a.m + m : nullptr, count, first, p,
                   positions - p < cols ? positions - p : cols,
                   static_cast<T*>(a.out) + (image_group * a.m + m) * a.out_plane);
      }
  }
}

// ---- sums over positions: dweight -------------------------------------------------------------------------------

// sums[rows][vectors * width] = or += one chain over positions of terms[offset[i] + position] and dout[position].
template <class T, int rows, int vectors>
static void weight_tile(const T* terms, const int64_t* offset, const T* dout, int64_t stride, int64_t positions,
                        T* sums, bool fresh) {
  constexpr int width = Vec<T>::width;
  const T* term[rows];
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) term[i] = terms + offset[i];
  Vec<T> sum[rows][vectors];
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sum[i][v] = Vec<T>::zero();
  for (int64_t p = 0; p < positions; ++p) {
    Vec<T> d[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) d[v] = Vec<T>::load(dout + v * width);
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
      const Vec<T> x = Vec<T>::broadcast(term[i][p]);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sum[i][v] = fma(x, d[v], sum[i][v]);
    }
    dout += stride;
  }
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      T* out = sums + i * stride + v * width;
      (fresh ? sum[i][v] : Vec<T>::load(out) + sum[i][v]).store(out);
    }
}

template <class T>
using WeightTile = void (*)(const T* terms, const int64_t* offset, const T* dout, int64_t stride, int64_t positions,
                            T* sums, bool fresh);

template <class T, int vectors, int rows = kTileRows<T>>
static WeightTile<T> weight_function(int64_t wanted) {
  if constexpr (rows > 1)
    if (wanted < rows) return weight_function<T, vectors, rows - 1>(wanted);
  return weight_tile<T, rows, vectors>;
}

// One chain of all sums of an item.
template <class T>
static void add_chain(const ConvWeight& a, int64_t K, int64_t positions, bool fresh) {
  constexpr int64_t width = Vec<T>::width;
  const int64_t stride = padded_m(a.m), panels = (K + kTileRows<T> - 1) / kTileRows<T>;
  for (int64_t m = 0; m < a.m; m += kVectors<T> * width)
    for (int64_t panel = 0; panel < panels; ++panel) {
      const int64_t k = panel_begin(panel, panels, K), count = panel_begin(panel + 1, panels, K) - k;
      const bool one = a.m - m <= width;
      (one ? weight_function<T, 1>(count) : weight_function<T, kVectors<T>>(count))(
          static_cast<const T*>(a.scratch), a.window.offset + k, static_cast<const T*>(a.packed_dout) + m, stride,
          positions, static_cast<T*>(a.sums) + k * stride + m, fresh);
    }
}

template <class T>
static void weight(const ConvWeight& a, int64_t begin, int64_t end) {
  const ConvWindow& w = a.window;
  const int64_t taps = w.taps_y * w.taps_x, stride = padded_m(a.m), plane = w.rows * w.cols;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t range_group = item / a.channel_blocks, range = range_group / a.groups, group = range_group % a.groups;
    const int64_t c = item % a.channel_blocks * a.block_channels;
    const int64_t channels = c + a.block_channels < w.channels ? a.block_channels : w.channels - c, K = channels * taps;
    bool fresh = true;
    for (int64_t n = range * a.images / a.image_ranges; n < (range + 1) * a.images / a.image_ranges; ++n)
      for (int64_t first = 0; first < w.rows; first += a.chain_rows, fresh = false) {
        const int64_t rows = first + a.chain_rows < w.rows ? a.chain_rows : w.rows - first;
        gather(w, static_cast<const T*>(a.x) + ((n * a.groups + group) * w.channels + c) * w.height * w.width, channels,
               first, rows, static_cast<T*>(a.scratch));
        pack_transposed(static_cast<const T*>(a.dout) + (n * a.groups + group) * a.m * plane + first * w.cols, plane,
                        a.m, rows * w.cols, stride, static_cast<T*>(a.packed_dout));
        add_chain<T>(a, K, rows * w.cols, fresh);
      }
    T* dweight = static_cast<T*>(a.dweight) + range_group * a.m * w.channels * taps + c * taps;
    for (int64_t m = 0; m < a.m; ++m)
      for (int64_t k = 0; k < K; ++k)
        dweight[m * w.channels * taps + k] = static_cast<const T*>(a.sums)[k * stride + m];
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const ConvSumsTable& KernelsOf<ConvSumsTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr ConvSumsTable table = {
      {{kTileRows<float>, kTileRows<double>}}, {{sum<float>, sum<double>}}, {{weight<float>, weight<double>}}};
  return table;
}
}  // namespace pyformer
