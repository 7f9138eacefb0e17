// softmax and log_softmax: softmax_ref.cpp with a team of threads for each row.
#include "pyformer/cuda/rows.h"
#include "pyformer/ops/softmax/softmax_kernels.h"

namespace pyformer::cuda {

DEVICE int64_t start_of(const SoftmaxShape& a, int64_t row) { return row / a.inner * a.cols * a.inner + row % a.inner; }

// The maximum, NaN aside, and what the exponentials make: their sum.
template <class Team, class X, class A = typename Team::Number>
DEVICE A exp_sum(Team& team, int64_t n, const X& x, A m) {
  return row_sum(team, n, [&](int64_t c) { return exp_flush(x(c) - m); });
}

template <class T, bool is_log>
struct SoftmaxRow {
  using Args = SoftmaxForward;
  template <class Team>
  static DEVICE void at(const Args& a, Team& team, int64_t row) {
    using A = Accumulator<T>;
    const auto first = in<T>(a.x) + start_of(a, row);
    const auto out = to<T>(a.out) + start_of(a, row);
    const auto x = [&](int64_t c) { return A(first[c * a.inner]); };
    const A m = team.largest(a.cols, x), sum = exp_sum(team, a.cols, x, m);
    if constexpr (is_log) {
      const A log_sum = log(sum);
      team.each(a.cols, [&](int64_t c) { out[c * a.inner] = (x(c) - m) - log_sum; });
    } else {
      const A inverse = A(1) / sum;
      team.each(a.cols, [&](int64_t c) { out[c * a.inner] = exp_flush(x(c) - m) * inverse; });
    }
  }
};

// value(c) is the element of the result that forward gave, before it was rounded.
template <class T, bool is_log, class Team, class Value>
DEVICE void softmax_gradient(const SoftmaxBackward& a, Team& team, int64_t row, const Value& value) {
  using A = Accumulator<T>;
  const auto first = in<T>(a.dout) + start_of(a, row);
  const auto dx = to<T>(a.dx) + start_of(a, row);
  const auto dout = [&](int64_t c) { return A(first[c * a.inner]); };
  if constexpr (is_log) {
    const A sum = row_sum(team, a.cols, dout);
    team.each(a.cols, [&](int64_t c) { dx[c * a.inner] = fma(exp_flush(value(c)), -sum, dout(c)); });
  } else {
    const A dot = row_dot(team, a.cols, dout, value);
    team.each(a.cols, [&](int64_t c) { dx[c * a.inner] = value(c) * (dout(c) - dot); });
  }
}

template <class T, bool is_log>
struct SoftmaxGradientRow {
  using Args = SoftmaxBackward;
  static constexpr int kResident = sizeof(T) == 4 ? 1024 : 768;  // code for sm_100 and sm_120 spills with 48 registers
  template <class Team>
  static DEVICE void at(const Args& a, Team& team, int64_t row) {
    using A = Accumulator<T>;
    const auto first = in<T>(a.saved) + start_of(a, row);
    const auto saved = [&](int64_t c) { return A(first[c * a.inner]); };
    if constexpr (sizeof(T) >= 4) {
      softmax_gradient<T, is_log>(a, team, row, saved);
    } else {
      const A m = team.largest(a.cols, saved), sum = exp_sum(team, a.cols, saved, m);
      if constexpr (is_log) {
        const A log_sum = log(sum);
        softmax_gradient<T, is_log>(a, team, row, [&](int64_t c) { return (saved(c) - m) - log_sum; });
      } else {
        const A inverse = A(1) / sum;
        softmax_gradient<T, is_log>(a, team, row, [&](int64_t c) { return exp_flush(saved(c) - m) * inverse; });
      }
    }
  }
};

template <class T, bool is_log>
static void softmax_forward(const SoftmaxForward& a, int64_t, int64_t rows) {
  start_rows<SoftmaxRow<T, is_log>, Accumulator<T>>(a, rows, a.cols);
}
template <class T, bool is_log>
static void softmax_backward(const SoftmaxBackward& a, int64_t, int64_t rows) {
  start_rows<SoftmaxGradientRow<T, is_log>, Accumulator<T>>(a, rows, a.cols);
}

template <>
const SoftmaxTable& cuda_table<SoftmaxTable>() {
  static constexpr SoftmaxTable table = {
      for_each_float<Kernel<SoftmaxForward>>(
          []<class T>() -> Kernel<SoftmaxForward> { return softmax_forward<T, false>; }),
      for_each_float<Kernel<SoftmaxBackward>>(
          []<class T>() -> Kernel<SoftmaxBackward> { return softmax_backward<T, false>; }),
      for_each_float<Kernel<SoftmaxForward>>(
          []<class T>() -> Kernel<SoftmaxForward> { return softmax_forward<T, true>; }),
      for_each_float<Kernel<SoftmaxBackward>>(
          []<class T>() -> Kernel<SoftmaxBackward> { return softmax_backward<T, true>; })};
  return table;
}

}  // namespace pyformer::cuda
