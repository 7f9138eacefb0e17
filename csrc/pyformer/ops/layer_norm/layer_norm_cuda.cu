// layer_norm: the formulas of layer_norm_ref.cpp. Rows have a team of threads; dweight and dbias a thread for each
// chunk of rows and column, so that they are added in the order of the rows.
#include "pyformer/base/norm.h"
#include "pyformer/cuda/rows.h"
#include "pyformer/ops/layer_norm/layer_norm_kernels.h"

namespace pyformer::cuda {

template <class Team, class X>
DEVICE NormRow<float> layer_statistics(Team& team, int64_t C, double eps, const X& x) {
  const auto take = [&](float scale) {
    const float first = x(0) * scale;
    const float mean = first + row_sum(team, C, [&](int64_t c) { return fma(x(c), scale, -first); }) / float(C);
    const auto centred = [&](int64_t c) { return fma(x(c), scale, -mean); };
    const float rest = row_sum(team, C, centred) / float(C);
    return row_statistics(scale, mean, rest, row_dot(team, C, centred, centred) / float(C), eps);
  };
  const float origin = x(0);
  const auto largest = [&] { return max(team.largest(C, [&](int64_t c) { return abs(x(c) - origin); }), 0.0f); };
  return in_fitting_units<float>(eps, take, largest).row;
}

template <class T>
struct LayerNormRow {
  using Args = LayerNormForward;
  template <class Team>
  static DEVICE void at(const Args& a, Team& team, int64_t row) {
    const int64_t C = a.cols;
    const auto weight = in<T>(a.weight), bias = in<T>(a.bias), x = in<T>(a.x) + row * C;
    const auto out = to<T>(a.out) + row * C;
    const NormRow<float> statistics = layer_statistics(team, C, a.eps, [&](int64_t c) { return float(x[c]); });
    const Normalizer<float> xhat(statistics);
    team.each(C, [&](int64_t c) {
      float value = xhat(x[c]);
      if (weight && bias)
        value = fma(value, float(weight[c]), float(bias[c]));
      else if (weight)
        value = value * weight[c];
      else if (bias)
        value = value + bias[c];
      out[c] = value;
    });
    if (team.is_first()) static_cast<NormRow<float>*>(a.statistics)[row] = statistics;
  }
};

template <class T>
struct LayerNormGradientRow {
  using Args = LayerNormBackward;
  template <class Team>
  static DEVICE void at(const Args& a, Team& team, int64_t row) {
    const int64_t C = a.cols;
    const auto weight = in<T>(a.weight), dout = in<T>(a.dout) + row * C, x = in<T>(a.x) + row * C;
    const auto dx = to<T>(a.dx) + row * C;
    const Normalizer<float> normalizer(static_cast<const NormRow<float>*>(a.statistics)[row]);
    const auto xhat = [&](int64_t c) { return normalizer(x[c]); };
    const auto g = [&](int64_t c) { return weight ? dout[c] * weight[c] : float(dout[c]); };
    const float mean_g = row_sum(team, C, g) / float(C);
    const float mean_gx = row_dot(team, C, g, xhat) / float(C);
    team.each(C, [&](int64_t c) { dx[c] = normalizer.gradient(g(c), mean_g, xhat(c), mean_gx); });
  }
};

template <class T>
struct LayerNormGradientColumn {
  using Args = LayerNormBackward;
  static DEVICE void at(const Args& a, int64_t item) {
    const int64_t C = a.cols, chunk = item / C, c = item % C;
    const int64_t first = chunk * Args::kRowChunk, stop = first + Args::kRowChunk;
    float dweight = 0, dbias = 0;
    for (int64_t row = first; row < stop && row < a.rows; ++row) {
      const float dout = in<T>(a.dout)[row * C + c];
      const Normalizer<float> xhat(static_cast<const NormRow<float>*>(a.statistics)[row]);
      dweight = fma(dout, xhat(in<T>(a.x)[row * C + c]), dweight);
      dbias = dbias + dout;
    }
    if (a.dweight) static_cast<float*>(a.dweight)[item] = dweight;
    if (a.dbias) static_cast<float*>(a.dbias)[item] = dbias;
  }
};

template <class T>
static void layer_norm_forward(const LayerNormForward& a, int64_t, int64_t) {
  start_rows<LayerNormRow<T>>(a, a.rows, a.cols);
}
template <class T>
static void layer_norm_backward(const LayerNormBackward& a, int64_t, int64_t chunks) {
  if (a.dx) start_rows<LayerNormGradientRow<T>>(a, a.rows, a.cols);
  if (a.dweight || a.dbias) start_items<LayerNormGradientColumn<T>>(a, chunks * a.cols);
}

template <>
const LayerNormTable& cuda_table<LayerNormTable>() {
  static constexpr LayerNormTable table = {
      for_cuda_floats<Kernel<LayerNormForward>>(
          []<class T>() -> Kernel<LayerNormForward> { return layer_norm_forward<T>; }),
      for_cuda_floats<Kernel<LayerNormBackward>>(
          []<class T>() -> Kernel<LayerNormBackward> { return layer_norm_backward<T>; })};
  return table;
}

}  // namespace pyformer::cuda
