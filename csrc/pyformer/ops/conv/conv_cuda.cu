// conv: the sums of conv_ref.cpp, whose bits they have in every dtype. A thread takes kOwn sums that read the same
// terms: neighbouring channels of a position, or neighbouring rows of the weight's gradient.
#include "pyformer/cuda/kernel.h"
#include "pyformer/ops/conv/conv_kernels.h"

namespace pyformer::cuda {

constexpr int kOwn = 4;

// Element i of an operand, rounded to bfloat16 in mixed precision.
template <class T>
DEVICE float operand_at(const void* data, int64_t i, bool rounds) {
  const float value = in<T>(data)[i];
  return rounds ? widened(rounded<BFloat16>(value)) : value;
}

// chain + factor * value. What lies outside is 0, which an infinity or NaN meets only if it counts.
DEVICE float with_term(float factor, float value, bool inside, bool outside_counts, float chain) {
  const bool meets = inside || outside_counts || factor - factor == 0.0f;
  return fma(meets ? factor : 0.0f, value, chain);
}

// Where tap k of an axis reads for a position: of the image for the map to the result, of the result for the map back.
// Back, only some taps meet a position; others are no terms.
struct TapPlace {
  int64_t at;
  bool meets;
};
template <bool to_image>
DEVICE TapPlace place_of_tap(const ConvGeometry& g, int axis, int64_t position, int64_t k) {
  if constexpr (!to_image) return {position * g.stride[axis] - g.padding[axis] + k * g.dilation[axis], true};
  const int64_t from = position + g.padding[axis] - k * g.dilation[axis];
  return {from / g.stride[axis], from % g.stride[axis] == 0};
}

// Work item: kOwn channels of a group at one position of what is computed, the result or the image.
template <class T, bool to_image>
struct ConvElements {
  using Args = ConvMap;
  static DEVICE void at(const Args& a, int64_t item) {
    const ConvGeometry& g = a.g;
    const int64_t m = to_image ? g.C : g.O, terms = to_image ? g.O : g.C;
    const int64_t rows = to_image ? g.size[0] : g.positions[0], cols = to_image ? g.size[1] : g.positions[1];
    const int64_t height = to_image ? g.positions[0] : g.size[0], width = to_image ? g.positions[1] : g.size[1];
    const int64_t m_stride = (to_image ? 1 : g.C) * g.taps(), term_stride = (to_image ? g.C : 1) * g.taps();
    const Divided col = divided(item, cols), row = divided(col.quotient, rows);
    const Divided block = divided(row.quotient, ceil_div(m, kOwn)), group = divided(block.quotient, g.groups);
    const int64_t first = block.rest * kOwn, i = row.rest, j = col.rest;
    const int64_t weights = group.rest * g.O * g.C * g.taps() + first * m_stride;
    const int64_t planes = block.quotient * terms * height * width;
    float total[kOwn] = {}, chain[kOwn] = {};
    int64_t count = 0;
    const auto end_chain = [&] {
#pragma unroll
      for (int r = 0; r < kOwn; ++r) {
        total[r] = count <= kChainLength ? chain[r] : total[r] + chain[r];
        chain[r] = 0;
      }
    };
    for (int64_t c = 0; c < terms; ++c)
      for (int64_t kh = 0; kh < g.kernel[0]; ++kh) {
        const TapPlace y = place_of_tap<to_image>(g, 0, i, kh);
        if (!y.meets) continue;
        for (int64_t kw = 0; kw < g.kernel[1]; ++kw) {
          const TapPlace x = place_of_tap<to_image>(g, 1, j, kw);
          if (!x.meets) continue;
          const bool inside = y.at >= 0 && y.at < height && x.at >= 0 && x.at < width;
          float value = 0;
          if (inside) value = operand_at<T>(a.from, planes + (c * height + y.at) * width + x.at, a.rounds);
#pragma unroll
          for (int r = 0; r < kOwn; ++r)
            if (first + r < m) {
              const int64_t weight = weights + r * m_stride + c * term_stride + kh * g.kernel[1] + kw;
              chain[r] = with_term(operand_at<T>(a.weight, weight, a.rounds), value, inside,
                                   !to_image && a.outside_counts, chain[r]);
            }
          if (++count % kChainLength == 0) end_chain();
        }
      }
    if (count % kChainLength) end_chain();
#pragma unroll
    for (int r = 0; r < kOwn; ++r)
      if (first + r < m) {
        const float bias = a.bias ? float(in<T>(a.bias)[group.rest * m + first + r]) : 0.0f;
        to<T>(a.to)[((block.quotient * m + first + r) * rows + i) * cols + j] = a.bias ? total[r] + bias : total[r];
      }
  }
};
template <class T, bool to_image>
static void start_map(const ConvMap& a) {
  const ConvGeometry& g = a.g;
  const int64_t blocks = g.N * g.groups * ceil_div(to_image ? g.C : g.O, kOwn);
  start_items<ConvElements<T, to_image>>(a,
                                         blocks * (to_image ? g.size[0] * g.size[1] : g.positions[0] * g.positions[1]));
}

// Rows [first, first + kOwn) and column k of the gradient of a group's weight, over a range of images.
template <class T>
struct WeightElements {
  using Args = ConvWeightGradient;
  static DEVICE void at(const Args& a, int64_t item) {
    const ConvGeometry& g = a.g;
    const int64_t K = g.C * g.taps(), positions = g.positions[0] * g.positions[1];
    const Divided column = divided(item, K), block = divided(column.quotient, ceil_div(g.O, kOwn));
    const Divided range_of = divided(block.quotient, g.groups);
    const int64_t k = column.rest, first = block.rest * kOwn, group = range_of.rest, range = range_of.quotient;
    const int64_t channel = k / g.taps(), kh = k % g.taps() / g.kernel[1], kw = k % g.kernel[1];
    const int64_t fit = kChainLength / (g.positions[1] < 1 ? 1 : g.positions[1]), chain_rows = fit < 1 ? 1 : fit;
    float total[kOwn] = {};
    bool fresh = true;
    for (int64_t n = range * g.N / a.image_ranges(); n < (range + 1) * g.N / a.image_ranges(); ++n) {
      const int64_t plane = ((n * g.groups + group) * g.C + channel) * g.size[0] * g.size[1];
      const int64_t douts = ((n * g.groups + group) * g.O + first) * positions;
      float chain[kOwn] = {};
      for (int64_t i = 0; i < g.positions[0]; ++i) {
        const int64_t y = place_of_tap<false>(g, 0, i, kh).at;
        for (int64_t j = 0; j < g.positions[1]; ++j) {
          const int64_t x = place_of_tap<false>(g, 1, j, kw).at;
          const bool inside = y >= 0 && y < g.size[0] && x >= 0 && x < g.size[1];
          float value = 0;
          if (inside) value = operand_at<T>(a.image, plane + y * g.size[1] + x, a.rounds);
#pragma unroll
          for (int r = 0; r < kOwn; ++r)
            if (first + r < g.O) {
              const int64_t dout = douts + r * positions + i * g.positions[1] + j;
              chain[r] = with_term(operand_at<T>(a.dresult, dout, a.rounds), value, inside, a.outside_counts, chain[r]);
            }
        }
        if ((i + 1) % chain_rows && i + 1 < g.positions[0]) continue;
#pragma unroll
        for (int r = 0; r < kOwn; ++r) {
          total[r] = fresh ? chain[r] : total[r] + chain[r];
          chain[r] = 0;
        }
        fresh = false;
      }
    }
#pragma unroll
    for (int r = 0; r < kOwn; ++r)
      if (first + r < g.O)
        static_cast<float*>(a.dweight)[((range * g.groups + group) * g.O + first + r) * K + k] = total[r];
  }
};
template <class T>
static void start_weight_gradient(const ConvWeightGradient& a) {
  const ConvGeometry& g = a.g;
  start_items<WeightElements<T>>(a, a.image_ranges() * g.groups * ceil_div(g.O, kOwn) * g.C * g.taps());
}

template <>
const ConvTable& cuda_table<ConvTable>() {
  static constexpr ConvTable table = {
      .to_result = for_cuda_floats<Program<ConvMap>>([]<class T>() -> Program<ConvMap> { return start_map<T, false>; }),
      .to_image = for_cuda_floats<Program<ConvMap>>([]<class T>() -> Program<ConvMap> { return start_map<T, true>; }),
      .weight_gradient = for_cuda_floats<Program<ConvWeightGradient>>(
          []<class T>() -> Program<ConvWeightGradient> { return start_weight_gradient<T>; })};
  return table;
}

}  // namespace pyformer::cuda
