// conv: the sums of conv_ref.cpp, whose bits they have in every dtype, as products of matrices whose columns are read
// from the picture as they are needed (matmul_fma.h); where there are few rows, a thread takes a sum. In mixed
// precision operands are rounded to bfloat16 and sums are still those.
#include "pyformer/ops/conv/conv_kernels.h"
#include "pyformer/ops/matmul/matmul_fma.h"

namespace pyformer::cuda {

constexpr int64_t kLeastRows = 8;  // from which on a tile has enough of them
template <class T>
using Fma = FmaTile<4, Accumulator<T>>;

// The kernel rows (or columns) first + i * step, i < count, of which tap i reads position * stride + shift + i * apart.
struct AxisTaps {
  int64_t count, first, step, stride, shift, apart;
};
static AxisTaps all_taps(const ConvGeometry& g, int axis) {
  return {g.kernel[axis], 0, 1, g.stride[axis], -g.padding[axis], g.dilation[axis]};
}
// Those that meet image rows `from`, from + stride, ...: kernel row k meets result row (from + padding - k dilation) /
// stride, where that is whole.
static AxisTaps taps_meeting(const ConvGeometry& g, int axis, int64_t from) {
  const int64_t stride = g.stride[axis], dilation = g.dilation[axis];
  int64_t step = 1;
  while (step < g.kernel[axis] && step * dilation % stride) ++step;
  AxisTaps taps = {0, 0, step, 1, 0, -(step * dilation / stride)};
  while (taps.first < step && (from + g.padding[axis] - taps.first * dilation) % stride) ++taps.first;
  if (taps.first == step || taps.first >= g.kernel[axis]) return taps;
  taps.count = (g.kernel[axis] - taps.first - 1) / step + 1;
  taps.shift = (from + g.padding[axis] - taps.first * dilation) / stride;
  return taps;
}

// For each (image, group) `rows` sums at each of positions_y * positions_x positions, over k = (channel, tap_y, tap_x).
struct ConvSums {
  ConvMap a;
  AxisTaps y, x;
  int64_t rows, channels, row_stride, channel_stride;  // of a group's weight
  int64_t height, width, positions_y, positions_x;     // of a plane that is read; of positions
  int64_t out_first, out_plane, out_y, out_x;          // where they go
  bool outside_counts;

  constexpr int64_t taps() const { return y.count * x.count; }
  constexpr int64_t positions() const { return positions_y * positions_x; }
};

// Element i of an operand, rounded to bfloat16 in mixed precision.
template <class T>
DEVICE Accumulator<T> operand_at(const void* data, int64_t i, bool rounds) {
  const Accumulator<T> value = in<T>(data)[i];
  if constexpr (sizeof(T) == 8) return value;
  return rounds ? widened(rounded<BFloat16>(float(value))) : value;
}

// Term k of a sum: its channel and taps.
struct Term {
  int64_t channel, y, x;
};
DEVICE Term term_of(const AxisTaps& y, const AxisTaps& x, int64_t k) {
  const Divided in_row = divided_small(k, x.count), in_channel = divided_small(in_row.quotient, y.count);
  return {in_channel.quotient, in_channel.rest, in_row.rest};
}

// What a term reads at a position of a plane; 0 outside.
template <class A>
struct Read {
  A value;
  bool inside;
};
template <class T>
DEVICE Read<Accumulator<T>> read_term(const void* from, int64_t planes, const Term& t, const AxisTaps& ys,
                                      const AxisTaps& xs, int64_t height, int64_t width, int64_t i, int64_t j,
                                      bool rounds) {
  const int64_t y = i * ys.stride + ys.shift + t.y * ys.apart, x = j * xs.stride + xs.shift + t.x * xs.apart;
  if (y < 0 || y >= height || x < 0 || x >= width) return {0, false};
  return {operand_at<T>(from, ((planes + t.channel) * height + y) * width + x, rounds), true};
}

// chain + factor * what was read. What lies outside an infinity or NaN meets only if it counts.
template <class A>
DEVICE A with_term(A factor, const Read<A>& read, bool outside_counts, A chain) {
  const bool meets = read.inside || outside_counts || factor - factor == A(0);
  return fma(meets ? factor : A(0), read.value, chain);
}

// ---- image -> result, result -> image -------------------------------------------------------------------------------

template <class T>
DEVICE Accumulator<T> weight_at(const ConvSums& s, int64_t group, int64_t row, const Term& t) {
  const ConvGeometry& g = s.a.g;
  const int64_t tap = (s.y.first + t.y * s.y.step) * g.kernel[1] + s.x.first + t.x * s.x.step;
  const int64_t start = group * g.O * g.C * g.taps() + row * s.row_stride + t.channel * s.channel_stride;
  return operand_at<T>(s.a.weight, start + tap, s.a.rounds);
}
template <class T>
DEVICE Read<Accumulator<T>> read_at(const ConvSums& s, int64_t image_group, int64_t position, const Term& t) {
  const Divided p = divided_small(position, s.positions_x);
  return read_term<T>(s.a.from, image_group * s.channels, t, s.y, s.x, s.height, s.width, p.quotient, p.rest,
                      s.a.rounds);
}
template <class T>
DEVICE void store_sum(const ConvSums& s, int64_t image_group, int64_t group, int64_t row, int64_t position,
                      Accumulator<T> sum) {
  const Divided p = divided_small(position, s.positions_x);
  const int64_t plane = image_group * s.rows + row;
  if (s.a.bias) sum = sum + in<T>(s.a.bias)[group * s.rows + row];
  to<T>(s.a.to)[s.out_first + plane * s.out_plane + p.quotient * s.out_y + p.rest * s.out_x] = sum;
}

template <class T>
DEVICE Accumulator<T> one_sum(const ConvSums& s, int64_t image_group, int64_t group, int64_t row, int64_t position) {
  const int64_t terms = s.channels * s.taps();
  Accumulator<T> total = 0;
  for (int64_t start = 0; start < terms; start += kChainLength) {
    Accumulator<T> chain = 0;
    for (int64_t k = start; k < terms && k < start + kChainLength; ++k) {
      const Term t = term_of(s.y, s.x, k);
      const Accumulator<T> factor = weight_at<T>(s, group, row, t);
      chain = with_term(factor, read_at<T>(s, image_group, position, t), s.outside_counts, chain);
    }
    total = start == 0 ? chain : total + chain;
  }
  return total;
}

template <class T>
struct ConvElement {
  using Args = ConvSums;
  static DEVICE void at(const Args& s, int64_t item) {
    const Divided place = divided(item, s.positions()), plane = divided(place.quotient, s.rows);
    const int64_t image_group = plane.quotient, group = divided(image_group, s.a.g.groups).rest, row = plane.rest;
    store_sum<T>(s, image_group, group, row, place.rest, one_sum<T>(s, image_group, group, row, place.rest));
  }
};

template <class T>
__global__ void __launch_bounds__(kThreads, 2) conv_tile(const ConvSums s) {
  const int64_t across = ceil_div(s.positions(), Fma<T>::kWidth), tiles = ceil_div(s.rows, Fma<T>::kHeight) * across;
  const int64_t image_group = blockIdx.x / tiles, tile = blockIdx.x % tiles, terms = s.channels * s.taps();
  const int64_t first = tile / across * Fma<T>::kHeight, position = tile % across * Fma<T>::kWidth;
  const int64_t group = image_group % s.a.g.groups;
  typename Fma<T>::Sums sum = {};
  Fma<T>::add_chains(
      shared_memory<typename Fma<T>::Shared>(), ceil_div(terms, kChainLength),
      [&](int64_t c) { return terms - c * kChainLength < kChainLength ? terms - c * kChainLength : kChainLength; },
      [&](int64_t c, int64_t start, int64_t stop, auto& strip) {
        Fma<T>::each_factor(start, stop, true, strip, [&](int64_t k, int64_t row, Accumulator<T>& factor) {
          if (first + row < s.rows)
            factor = weight_at<T>(s, group, first + row, term_of(s.y, s.x, c * kChainLength + k));
        });
      },
      [&](int64_t c, int64_t start, int64_t stop, auto& strip) {
        Fma<T>::each_factor(start, stop, false, strip, [&](int64_t k, int64_t i, Accumulator<T>& factor) {
          if (position + i < s.positions())
            factor = read_at<T>(s, image_group, position + i, term_of(s.y, s.x, c * kChainLength + k)).value;
        });
      },
      true, sum);
  Fma<T>::each(first, position, sum, [&](int64_t row, int64_t p, Accumulator<T> value) {
    if (row >= s.rows || p >= s.positions()) return;
    // An infinite weight may have met what is not there.
    if (!s.outside_counts && value != value) value = one_sum<T>(s, image_group, group, row, p);
    store_sum<T>(s, image_group, group, row, p, value);
  });
}

// What kernels divide.
static void check_below_32_bits(int64_t terms, int64_t positions) {
  if (terms >> 32 || positions >> 32)
    throw CudaError("conv: too large for kernels that count positions and terms in 32 bits");
}

template <class T>
static void start_sums(const ConvSums& s) {
  check_below_32_bits(s.channels * s.taps(), s.positions());
  const int64_t image_groups = s.a.g.N * s.a.g.groups;
  if (s.rows < kLeastRows) return start_items<ConvElement<T>>(s, image_groups * s.rows * s.positions());
  start(conv_tile<T>, image_groups * ceil_div(s.rows, Fma<T>::kHeight) * ceil_div(s.positions(), Fma<T>::kWidth),
        kThreads, sizeof(typename Fma<T>::Shared), s);
}

template <class T>
static void to_result(const ConvMap& a) {
  const ConvGeometry& g = a.g;
  start_sums<T>({a, all_taps(g, 0), all_taps(g, 1), g.O, g.C, g.C * g.taps(), g.taps(), g.size[0], g.size[1],
                 g.positions[0], g.positions[1], 0, g.positions[0] * g.positions[1], g.positions[1], 1,
                 a.outside_counts});
}

// Image rows and columns that are stride apart meet the same part of the kernel.
template <class T>
static void to_image(const ConvMap& a) {
  const ConvGeometry& g = a.g;
  for (int64_t y = 0; y < g.stride[0] && y < g.size[0]; ++y)
    for (int64_t x = 0; x < g.stride[1] && x < g.size[1]; ++x)
      start_sums<T>({a, taps_meeting(g, 0, y), taps_meeting(g, 1, x), g.C, g.O, g.taps(), g.C * g.taps(),
                     g.positions[0], g.positions[1], ceil_div(g.size[0] - y, g.stride[0]),
                     ceil_div(g.size[1] - x, g.stride[1]), y * g.size[1] + x, g.size[0] * g.size[1],
                     g.stride[0] * g.size[1], g.stride[1], false});
}

// ---- the gradient of the weight -------------------------------------------------------------------------------------

// Sums over the positions of a range's images: chain_rows rows of an image make a chain.
struct WeightSums {
  ConvWeightGradient a;
  AxisTaps y, x;
  int64_t chain_rows, row_blocks;  // chains of an image

  constexpr int64_t terms() const { return a.g.C * a.g.taps(); }
  DEVICE int64_t first_image(int64_t range) const { return divided_small(range * a.g.N, a.image_ranges()).quotient; }
  DEVICE int64_t chains(int64_t range) const { return (first_image(range + 1) - first_image(range)) * row_blocks; }
};

// Of chain c of a range: its image, its first position and how many it has.
struct WeightChain {
  int64_t image, first, length;
};
DEVICE WeightChain chain_of(const WeightSums& s, int64_t range, int64_t c) {
  const ConvGeometry& g = s.a.g;
  const Divided d = divided_small(c, s.row_blocks);
  const int64_t row = d.rest * s.chain_rows, left = g.positions[0] - row;
  return {s.first_image(range) + d.quotient, row * g.positions[1],
          (left < s.chain_rows ? left : s.chain_rows) * g.positions[1]};
}
template <class T>
DEVICE Accumulator<T> dout_at(const WeightSums& s, int64_t image, int64_t group, int64_t row, int64_t position) {
  const ConvGeometry& g = s.a.g;
  const int64_t plane = (image * g.groups + group) * g.O + row;
  return operand_at<T>(s.a.dresult, plane * g.positions[0] * g.positions[1] + position, s.a.rounds);
}
template <class T>
DEVICE Read<Accumulator<T>> image_at(const WeightSums& s, int64_t image, int64_t group, int64_t position,
                                     const Term& t) {
  const ConvGeometry& g = s.a.g;
  const Divided p = divided_small(position, g.positions[1]);
  return read_term<T>(s.a.image, (image * g.groups + group) * g.C, t, s.y, s.x, g.size[0], g.size[1], p.quotient,
                      p.rest, s.a.rounds);
}

template <class T>
DEVICE Accumulator<T> one_weight_sum(const WeightSums& s, int64_t range, int64_t group, int64_t row, int64_t k) {
  const Term t = term_of(s.y, s.x, k);
  const int64_t chains = s.chains(range);
  Accumulator<T> total = 0;
  for (int64_t c = 0; c < chains; ++c) {
    const WeightChain w = chain_of(s, range, c);
    Accumulator<T> chain = 0;
    for (int64_t p = w.first; p < w.first + w.length; ++p)
      chain = with_term(dout_at<T>(s, w.image, group, row, p), image_at<T>(s, w.image, group, p, t), s.a.outside_counts,
                        chain);
    total = c == 0 ? chain : total + chain;
  }
  return total;
}
// Element `item` of (ranges, groups, O, terms).
template <class T>
struct WeightElement {
  using Args = WeightSums;
  static DEVICE void at(const Args& s, int64_t item) {
    const Divided term = divided(item, s.terms()), row = divided(term.quotient, s.a.g.O);
    const Divided group = divided(row.quotient, s.a.g.groups);
    static_cast<Accumulator<T>*>(s.a.dweight)[item] =
        one_weight_sum<T>(s, group.quotient, group.rest, row.rest, term.rest);
  }
};

template <class T>
__global__ void __launch_bounds__(kThreads, sizeof(T) == 8 ? 1 : 2) weight_tile(const WeightSums s) {
  const ConvGeometry& g = s.a.g;
  const int64_t across = ceil_div(s.terms(), Fma<T>::kWidth), tiles = ceil_div(g.O, Fma<T>::kHeight) * across;
  const int64_t range_group = blockIdx.x / tiles, tile = blockIdx.x % tiles;
  const int64_t range = range_group / g.groups, group = range_group % g.groups;
  const int64_t first = tile / across * Fma<T>::kHeight, first_term = tile % across * Fma<T>::kWidth;
  typename Fma<T>::Sums sum = {};
  Fma<T>::add_chains(
      shared_memory<typename Fma<T>::Shared>(), s.chains(range),
      [&](int64_t c) { return chain_of(s, range, c).length; },
      [&](int64_t c, int64_t start, int64_t stop, auto& strip) {
        const WeightChain w = chain_of(s, range, c);
        Fma<T>::each_factor(start, stop, true, strip, [&](int64_t p, int64_t row, Accumulator<T>& factor) {
          if (first + row < g.O) factor = dout_at<T>(s, w.image, group, first + row, w.first + p);
        });
      },
      [&](int64_t c, int64_t start, int64_t stop, auto& strip) {
        const WeightChain w = chain_of(s, range, c);
        Fma<T>::each_factor(start, stop, true, strip, [&](int64_t p, int64_t k, Accumulator<T>& factor) {
          if (first_term + k < s.terms())
            factor = image_at<T>(s, w.image, group, w.first + p, term_of(s.y, s.x, first_term + k)).value;
        });
      },
      true, sum);
  Fma<T>::each(first, first_term, sum, [&](int64_t row, int64_t k, Accumulator<T> value) {
    if (row >= g.O || k >= s.terms()) return;
    if (!s.a.outside_counts && value != value) value = one_weight_sum<T>(s, range, group, row, k);
    static_cast<Accumulator<T>*>(s.a.dweight)[(range_group * g.O + row) * s.terms() + k] = value;
  });
}

template <class T>
static void weight_gradient(const ConvWeightGradient& a) {
  const ConvGeometry& g = a.g;
  const int64_t fit = kChainLength / (g.positions[1] < 1 ? 1 : g.positions[1]), chain_rows = fit < 1 ? 1 : fit;
  const WeightSums s = {a, all_taps(g, 0), all_taps(g, 1), chain_rows, ceil_div(g.positions[0], chain_rows)};
  const int64_t range_groups = a.image_ranges() * g.groups;
  check_below_32_bits(s.terms(), a.image_ranges() * g.N * g.positions[0] * g.positions[1]);
  if (g.O < kLeastRows) return start_items<WeightElement<T>>(s, range_groups * g.O * s.terms());
  start(weight_tile<T>, range_groups * ceil_div(g.O, Fma<T>::kHeight) * ceil_div(s.terms(), Fma<T>::kWidth), kThreads,
        sizeof(typename Fma<T>::Shared), s);
}

template <>
const ConvTable& cuda_table<ConvTable>() {
  static constexpr ConvTable table = {
      .to_result = for_each_float<Program<ConvMap>>([]<class T>() -> Program<ConvMap> { return to_result<T>; }),
      .to_image = for_each_float<Program<ConvMap>>([]<class T>() -> Program<ConvMap> { return to_image<T>; }),
      .weight_gradient = for_each_float<Program<ConvWeightGradient>>(
          []<class T>() -> Program<ConvWeightGradient> { return weight_gradient<T>; })};
  return table;
}

}  // namespace pyformer::cuda
