// layer_norm and rms_norm: the formulas of norm_ref.cpp. Rows have a team of threads; dweight and dbias a thread for
// each chunk of rows and column, so that they are added in the order of the rows.
#include "pyformer/base/norm.h"
#include "pyformer/cuda/rows.h"
#include "pyformer/ops/norm/norm_kernels.h"

namespace pyformer::cuda {

template <NormForm usual, class Team, class X, class A = typename Team::Number>
DEVICE NormRow<A> statistics_of(Team& team, int64_t C, double eps, const X& x) {
  constexpr bool rms = usual == NormForm::rms;
  const A origin = rms ? A(0) : x(0);
  const auto take = [&](A scale) {
    if constexpr (rms) {
      const auto scaled = [&](int64_t c) { return x(c) * scale; };
      return rms_statistics(scale, row_dot(team, C, scaled, scaled) / A(C), eps);
    } else {
      const A first = x(0) * scale;
      const A mean = first + row_sum(team, C, [&](int64_t c) { return fma(x(c), scale, -first); }) / A(C);
      const auto centred = [&](int64_t c) { return fma(x(c), scale, -mean); };
      const A rest = row_sum(team, C, centred) / A(C);
      return row_statistics(scale, mean, rest, row_dot(team, C, centred, centred) / A(C), eps);
    }
  };
  const auto largest = [&] { return max(team.largest(C, [&](int64_t c) { return abs(x(c) - origin); }), A(0)); };
  return in_fitting_units<A>(eps, take, largest).row;
}

template <class T, NormForm usual>
struct RowNormRow {
  using Args = RowNormForward;
  template <class Team>
  static DEVICE void at(const Args& a, Team& team, int64_t row) {
    using A = Accumulator<T>;
    const int64_t C = a.cols;
    const auto weight = in<T>(a.weight), bias = in<T>(a.bias), x = in<T>(a.x) + row * C;
    const auto out = to<T>(a.out) + row * C;
    const NormRow<A> statistics = statistics_of<usual>(team, C, a.eps, [&](int64_t c) { return A(x[c]); });
    const Normalizer<A> xhat(statistics);
    team.each(C, [&](int64_t c) {
      A value = xhat(x[c]);
      if (weight && bias)
        value = fma(value, A(weight[c]), A(bias[c]));
      else if (weight)
        value = value * weight[c];
      else if (bias)
        value = value + bias[c];
      out[c] = value;
    });
    if (team.is_first()) static_cast<NormRow<A>*>(a.statistics)[row] = statistics;
  }
};

template <class T, NormForm usual>
struct RowNormGradientRow {
  using Args = RowNormBackward;
  template <class Team>
  static DEVICE void at(const Args& a, Team& team, int64_t row) {
    using A = Accumulator<T>;
    const int64_t C = a.cols;
    const auto weight = in<T>(a.weight), dout = in<T>(a.dout) + row * C, x = in<T>(a.x) + row * C;
    const auto dx = to<T>(a.dx) + row * C;
    const Normalizer<A> normalizer(static_cast<const NormRow<A>*>(a.statistics)[row]);
    const auto xhat = [&](int64_t c) { return normalizer(x[c]); };
    const auto g = [&](int64_t c) { return weight ? dout[c] * weight[c] : A(dout[c]); };
    A mean_g = A(0);
    if constexpr (usual != NormForm::rms) mean_g = row_sum(team, C, g) / A(C);
    const A mean_gx = row_dot(team, C, g, xhat) / A(C);
    team.each(C, [&](int64_t c) { dx[c] = normalizer.gradient(g(c) - mean_g, xhat(c), mean_gx); });
  }
};

template <class T>
struct RowNormGradientColumn {
  using Args = RowNormBackward;
  static DEVICE void at(const Args& a, int64_t item) {
    using A = Accumulator<T>;
    const int64_t C = a.cols, chunk = item / C, c = item % C;
    const int64_t first = chunk * Args::kRowChunk, stop = first + Args::kRowChunk;
    A dweight = 0, dbias = 0;
    for (int64_t row = first; row < stop && row < a.rows; ++row) {
      const A dout = in<T>(a.dout)[row * C + c];
      const Normalizer<A> xhat(static_cast<const NormRow<A>*>(a.statistics)[row]);
      dweight = fma(dout, xhat(in<T>(a.x)[row * C + c]), dweight);
      dbias = dbias + dout;
    }
    if (a.dweight) static_cast<A*>(a.dweight)[item] = dweight;
    if (a.dbias) static_cast<A*>(a.dbias)[item] = dbias;
  }
};

template <class T, NormForm usual>
static void norm_forward(const RowNormForward& a, int64_t, int64_t) {
  start_rows<RowNormRow<T, usual>, Accumulator<T>>(a, a.rows, a.cols);
}
template <class T, NormForm usual>
static void norm_backward(const RowNormBackward& a, int64_t, int64_t chunks) {
  if (a.dx) start_rows<RowNormGradientRow<T, usual>, Accumulator<T>>(a, a.rows, a.cols);
  if (a.dweight || a.dbias) start_items<RowNormGradientColumn<T>>(a, chunks * a.cols);
}

template <>
const RowNormTable& cuda_table<RowNormTable>() {
  using Forward = Kernel<RowNormForward>;
  using Backward = Kernel<RowNormBackward>;
  static constexpr RowNormTable table = {
      for_each_float<Forward>([]<class T>() -> Forward { return norm_forward<T, NormForm::centred>; }),
      for_each_float<Forward>([]<class T>() -> Forward { return norm_forward<T, NormForm::rms>; }),
      for_each_float<Backward>([]<class T>() -> Backward { return norm_backward<T, NormForm::centred>; }),
      for_each_float<Backward>([]<class T>() -> Backward { return norm_backward<T, NormForm::rms>; })};
  return table;
}

}  // namespace pyformer::cuda
