// conv, plain loops: the sums that conv.h promises, terms outside a plane being 0.
#include "pyformer/base/vec.h"

#include "pyformer/ops/conv/conv_kernels.h"

namespace pyformer::PF_ISA {

// chain + factor times term (tap_y, tap_x) of a channel's plane at position (i, j).
template <class T>
static T with_term(const ConvWindow& w, bool outside_counts, const T* plane, int64_t tap_y, int64_t tap_x, int64_t i,
                   int64_t j, T factor, T chain) {
  const int64_t y = i * w.step_y + w.dy[tap_y], x = j * w.step_x + w.dx[tap_x];
  const bool inside = y >= 0 && y < w.height && x >= 0 && x < w.width, is_finite = factor - factor == T(0);
  if (inside) return fma(factor, plane[y * w.width + x], chain);
  return fma(outside_counts || is_finite ? factor : T(0), T(0), chain);
}

template <class T>
static void sum(const ConvSum& a, int64_t begin, int64_t end) {
  const ConvWindow& w = a.window;
  const int64_t taps = w.taps_y * w.taps_x, K = w.channels * taps, plane = w.height * w.width;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t image_group = item / a.row_blocks, group = image_group % a.groups;
    const int64_t first = item % a.row_blocks * a.block_rows;
    const int64_t last = first + a.block_rows < w.rows ? first + a.block_rows : w.rows;
    const T* x = static_cast<const T*>(a.x) + image_group * w.channels * plane;
    for (int64_t m = 0; m < a.m; ++m) {
      const T* weight = static_cast<const T*>(a.weight) + (group * a.m + m) * K;
      T* out = static_cast<T*>(a.out) + (image_group * a.m + m) * a.out_plane;
      for (int64_t i = first; i < last; ++i)
        for (int64_t j = 0; j < w.cols; ++j) {
          T total = T(0);
          for (int64_t start = 0; start < K; start += kChainLength) {
            T chain = T(0);
            for (int64_t k = start; k < K && k < start + kChainLength; ++k)
              chain = with_term(w, a.outside_counts, x + k / taps * plane, k % taps / w.taps_x, k % w.taps_x, i, j,
                                weight[k], chain);
            total = start == 0 ? chain : total + chain;
          }
          if (a.bias) total = total + static_cast<const T*>(a.bias)[group * a.m + m];
          out[i * a.out_row + j * a.out_col] = total;
        }
    }
  }
}

// One element: chains of chain_rows rows, over the images of a range.
template <class T>
static T weight_sum(const ConvWeight& a, int64_t range, int64_t group, int64_t m, int64_t k) {
  const ConvWindow& w = a.window;
  const int64_t taps = w.taps_y * w.taps_x, plane = w.height * w.width;
  T total = T(0);
  bool fresh = true;
  for (int64_t n = range * a.images / a.image_ranges; n < (range + 1) * a.images / a.image_ranges; ++n) {
    const T* x = static_cast<const T*>(a.x) + ((n * a.groups + group) * w.channels + k / taps) * plane;
    const T* dout = static_cast<const T*>(a.dout) + ((n * a.groups + group) * a.m + m) * w.rows * w.cols;
    for (int64_t first = 0; first < w.rows; first += a.chain_rows) {
      T chain = T(0);
      for (int64_t i = first; i < w.rows && i < first + a.chain_rows; ++i)
        for (int64_t j = 0; j < w.cols; ++j)
          chain =
              with_term(w, a.outside_counts, x, k % taps / w.taps_x, k % w.taps_x, i, j, dout[i * w.cols + j], chain);
      total = fresh ? chain : total + chain;
      fresh = false;
    }
  }
  return total;
}

template <class T>
static void weight(const ConvWeight& a, int64_t begin, int64_t end) {
  const int64_t taps = a.window.taps_y * a.window.taps_x, K = a.window.channels * taps;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t first = item % a.channel_blocks * a.block_channels * taps, stop = first + a.block_channels * taps;
    const int64_t range_group = item / a.channel_blocks;
    T* dweight = static_cast<T*>(a.dweight) + range_group * a.m * K;
    for (int64_t m = 0; m < a.m; ++m)
      for (int64_t k = first; k < K && k < stop; ++k)
        dweight[m * K + k] = weight_sum<T>(a, range_group / a.groups, range_group % a.groups, m, k);
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const ConvSumsTable& KernelsOf<ConvSumsTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr ConvSumsTable table = {{{1, 1}}, {{sum<float>, sum<double>}}, {{weight<float>, weight<double>}}};
  return table;
}
}  // namespace pyformer
