// softmax and log_softmax, plain loops; with m = max_c x and sums in the order of the row-reduction rule (reduce.h)
//
//   softmax:     out = e * (1 / sum_c e),  e = exp(x - m)        dx = out * (dout - sum_c dout * out)
//   log_softmax: out = (x - m) - log(sum_c e)                    dx = dout - exp(out) * sum_c dout
#include "pyformer/ops/softmax/softmax_kernels.h"

#include "pyformer/base/element.h"
#include "pyformer/base/math.h"
#include "pyformer/base/reduce.h"

namespace pyformer::PF_ISA {

// Element c of a row.
template <class Elements>
struct Row {
  Elements first;
  int64_t step;
  PF_INLINE decltype(auto) operator[](int64_t c) const { return first[c * step]; }
};
static int64_t start_of(const SoftmaxShape& a, int64_t row) { return row / a.inner * a.cols * a.inner + row % a.inner; }
template <class T>
static Row<typename Access<T>::In> in_row(const void* array, const SoftmaxShape& a, int64_t row) {
  return {in<T>(array) + start_of(a, row), a.inner};
}
template <class T>
static Row<typename Access<T>::To> to_row(void* array, const SoftmaxShape& a, int64_t row) {
  return {to<T>(array) + start_of(a, row), a.inner};
}

// NaN never wins; it comes back through the sum.
template <class A, class X>
static A row_max(const X& x, int64_t n) {
  A m = -A(__builtin_inf());
  for (int64_t i = 0; i < n; ++i) m = max(A(x[i]), m);
  return m;
}

// softmax of a row: f(c), and for the gradient from what was saved.
template <class T, class X>
static auto softmax_of(const X& x, int64_t n) {
  using A = Accumulator<T>;
  const A m = row_max<A>(x, n);
  const A inverse = A(1) / row_sum<A>(n, [&](int64_t c) { return exp_flush(x[c] - m); });
  return [=](int64_t c) { return exp_flush(x[c] - m) * inverse; };
}
template <class T, class X>
static auto log_softmax_of(const X& x, int64_t n) {
  using A = Accumulator<T>;
  const A m = row_max<A>(x, n);
  const A log_sum = log(row_sum<A>(n, [&](int64_t c) { return exp_flush(x[c] - m); }));
  return [=](int64_t c) { return (x[c] - m) - log_sum; };
}
template <class T>
constexpr bool kSavesOut = sizeof(T) == sizeof(Accumulator<T>);

template <class T>
static void softmax_forward(const SoftmaxForward& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const auto x = in_row<T>(a.x, a, row);
    const auto out = to_row<T>(a.out, a, row);
    const auto value = softmax_of<T>(x, a.cols);
    for (int64_t c = 0; c < a.cols; ++c) out[c] = value(c);
  }
}

template <class T, class Out>
static void softmax_backward_row(const SoftmaxBackward& a, int64_t row, const Out& out) {
  using A = Accumulator<T>;
  const auto dout = in_row<T>(a.dout, a, row);
  const auto dx = to_row<T>(a.dx, a, row);
  const A dot = row_dot<A>(a.cols, [&](int64_t c) { return A(dout[c]); }, out);
  for (int64_t c = 0; c < a.cols; ++c) dx[c] = out(c) * (dout[c] - dot);
}

template <class T>
static void softmax_backward(const SoftmaxBackward& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const auto saved = in_row<T>(a.saved, a, row);
    if constexpr (kSavesOut<T>)
      softmax_backward_row<T>(a, row, [&](int64_t c) { return saved[c]; });
    else
      softmax_backward_row<T>(a, row, softmax_of<T>(saved, a.cols));
  }
}

template <class T>
static void log_softmax_forward(const SoftmaxForward& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const auto x = in_row<T>(a.x, a, row);
    const auto out = to_row<T>(a.out, a, row);
    const auto value = log_softmax_of<T>(x, a.cols);
    for (int64_t c = 0; c < a.cols; ++c) out[c] = value(c);
  }
}

template <class T, class Out>
static void log_softmax_backward_row(const SoftmaxBackward& a, int64_t row, const Out& out) {
  using A = Accumulator<T>;
  const auto dout = in_row<T>(a.dout, a, row);
  const auto dx = to_row<T>(a.dx, a, row);
  const A sum = row_sum<A>(a.cols, [&](int64_t c) { return A(dout[c]); });
  for (int64_t c = 0; c < a.cols; ++c) dx[c] = fma(exp_flush(out(c)), -sum, A(dout[c]));
}

template <class T>
static void log_softmax_backward(const SoftmaxBackward& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const auto saved = in_row<T>(a.saved, a, row);
    if constexpr (kSavesOut<T>)
      log_softmax_backward_row<T>(a, row, [&](int64_t c) { return saved[c]; });
    else
      log_softmax_backward_row<T>(a, row, log_softmax_of<T>(saved, a.cols));
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const SoftmaxTable& KernelsOf<SoftmaxTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr SoftmaxTable table = {
      for_each_float<Kernel<SoftmaxForward>>([]<class T>() -> Kernel<SoftmaxForward> { return softmax_forward<T>; }),
      for_each_float<Kernel<SoftmaxBackward>>([]<class T>() -> Kernel<SoftmaxBackward> { return softmax_backward<T>; }),
      for_each_float<Kernel<SoftmaxForward>>(
          []<class T>() -> Kernel<SoftmaxForward> { return log_softmax_forward<T>; }),
      for_each_float<Kernel<SoftmaxBackward>>(
          []<class T>() -> Kernel<SoftmaxBackward> { return log_softmax_backward<T>; })};
  return table;
}
}  // namespace pyformer
