// rms_norm: the formulas of rms_norm_ref.cpp. Rows have a team of threads; dweight a thread for each chunk of rows and
// column, so that it is added in the order of the rows.
#include "pyformer/base/norm.h"
#include "pyformer/cuda/rows.h"
#include "pyformer/ops/rms_norm/rms_norm_kernels.h"

namespace pyformer::cuda {

template <class T>
struct RmsNormRow {
  using Args = RmsNormForward;
  template <class Team>
  static DEVICE void at(const Args& a, Team& team, int64_t row) {
    using A = Accumulator<T>;
    const int64_t C = a.cols;
    const auto weight = in<T>(a.weight), x = in<T>(a.x) + row * C;
    const auto out = to<T>(a.out) + row * C;
    const auto take = [&](A scale) {
      const auto scaled = [&](int64_t c) { return x[c] * scale; };
      return rms_statistics(scale, row_dot(team, C, scaled, scaled) / A(C), a.eps);
    };
    const auto largest = [&] { return max(team.largest(C, [&](int64_t c) { return abs(A(x[c])); }), A(0)); };
    const NormRow<A> statistics = in_fitting_units<A>(a.eps, take, largest).row;
    const Normalizer<A> xhat(statistics);
    team.each(C, [&](int64_t c) { out[c] = weight ? xhat(x[c]) * weight[c] : xhat(x[c]); });
    if (team.is_first()) static_cast<NormRow<A>*>(a.statistics)[row] = statistics;
  }
};

template <class T>
struct RmsNormGradientRow {
  using Args = RmsNormBackward;
  template <class Team>
  static DEVICE void at(const Args& a, Team& team, int64_t row) {
    using A = Accumulator<T>;
    const int64_t C = a.cols;
    const auto weight = in<T>(a.weight), dout = in<T>(a.dout) + row * C, x = in<T>(a.x) + row * C;
    const auto dx = to<T>(a.dx) + row * C;
    const Normalizer<A> normalizer(static_cast<const NormRow<A>*>(a.statistics)[row]);
    const auto xhat = [&](int64_t c) { return normalizer(x[c]); };
    const auto g = [&](int64_t c) { return weight ? dout[c] * weight[c] : A(dout[c]); };
    const A mean_gx = row_dot(team, C, g, xhat) / A(C);
    team.each(C, [&](int64_t c) { dx[c] = normalizer.gradient(g(c), xhat(c), mean_gx); });
  }
};

template <class T>
struct RmsNormGradientColumn {
  using Args = RmsNormBackward;
  static DEVICE void at(const Args& a, int64_t item) {
    using A = Accumulator<T>;
    const int64_t C = a.cols, chunk = item / C, c = item % C;
    const int64_t first = chunk * Args::kRowChunk, stop = first + Args::kRowChunk;
    A dweight = 0;
    for (int64_t row = first; row < stop && row < a.rows; ++row) {
      const Normalizer<A> xhat(static_cast<const NormRow<A>*>(a.statistics)[row]);
      dweight = fma(A(in<T>(a.dout)[row * C + c]), xhat(in<T>(a.x)[row * C + c]), dweight);
    }
    static_cast<A*>(a.dweight)[item] = dweight;
  }
};

template <class T>
static void rms_norm_forward(const RmsNormForward& a, int64_t, int64_t) {
  start_rows<RmsNormRow<T>, Accumulator<T>>(a, a.rows, a.cols);
}
template <class T>
static void rms_norm_backward(const RmsNormBackward& a, int64_t, int64_t chunks) {
  if (a.dx) start_rows<RmsNormGradientRow<T>, Accumulator<T>>(a, a.rows, a.cols);
  if (a.dweight) start_items<RmsNormGradientColumn<T>>(a, chunks * a.cols);
}

template <>
const RmsNormTable& cuda_table<RmsNormTable>() {
  static constexpr RmsNormTable table = {
      for_each_float<Kernel<RmsNormForward>>([]<class T>() -> Kernel<RmsNormForward> { return rms_norm_forward<T>; }),
      for_each_float<Kernel<RmsNormBackward>>(
          []<class T>() -> Kernel<RmsNormBackward> { return rms_norm_backward<T>; })};
  return table;
}

}  // namespace pyformer::cuda
