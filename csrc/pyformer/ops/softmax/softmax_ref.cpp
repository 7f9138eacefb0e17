// softmax and log_softmax, plain loops; with m = max_c x and sums in the order of the row-reduction rule (reduce.h)
//
//   softmax:     out = e * (1 / sum_c e),  e = exp(x - m)        dx = out * (dout - sum_c dout * out)
//   log_softmax: out = (x - m) - log(sum_c e)                    dx = dout - exp(out) * sum_c dout
#include "pyformer/ops/softmax/softmax_kernels.h"

#include "pyformer/base/math.h"
#include "pyformer/base/reduce.h"

namespace pyformer::PF_ISA {

// Element c of a row.
template <class T>
struct Row {
  T* first;
  int64_t step;
  template <class Void, class Args>
  Row(Void* array, const Args& a, int64_t row)
      : first(static_cast<T*>(array) + row / a.inner * a.cols * a.inner + row % a.inner), step(a.inner) {}
  T& operator[](int64_t c) const { return first[c * step]; }
};

// NaN never wins; it comes back through the sum.
template <class T>
static T row_max(const Row<const T>& x, int64_t n) {
  T m = -T(__builtin_inf());
  for (int64_t i = 0; i < n; ++i) m = max(x[i], m);
  return m;
}

template <class T>
static void softmax_forward(const SoftmaxForward& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const Row<const T> x(a.x, a, row);
    const Row<T> out(a.out, a, row);
    const T m = row_max(x, a.cols);
    const T inverse = T(1) / row_sum<T>(a.cols, [&](int64_t c) { return exp_flush(x[c] - m); });
    for (int64_t c = 0; c < a.cols; ++c) out[c] = exp_flush(x[c] - m) * inverse;
  }
}

template <class T>
static void softmax_backward(const SoftmaxBackward& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const Row<const T> dout(a.dout, a, row), out(a.out, a, row);
    const Row<T> dx(a.dx, a, row);
    const T dot = row_dot<T>(a.cols, [&](int64_t c) { return dout[c]; }, [&](int64_t c) { return out[c]; });
    for (int64_t c = 0; c < a.cols; ++c) dx[c] = out[c] * (dout[c] - dot);
  }
}

template <class T>
static void log_softmax_forward(const SoftmaxForward& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const Row<const T> x(a.x, a, row);
    const Row<T> out(a.out, a, row);
    const T m = row_max(x, a.cols);
    const T log_sum = log(row_sum<T>(a.cols, [&](int64_t c) { return exp_flush(x[c] - m); }));
    for (int64_t c = 0; c < a.cols; ++c) out[c] = (x[c] - m) - log_sum;
  }
}

template <class T>
static void log_softmax_backward(const SoftmaxBackward& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const Row<const T> dout(a.dout, a, row), out(a.out, a, row);
    const Row<T> dx(a.dx, a, row);
    const T sum = row_sum<T>(a.cols, [&](int64_t c) { return dout[c]; });
    for (int64_t c = 0; c < a.cols; ++c) dx[c] = fma(exp_flush(out[c]), -sum, dout[c]);
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const SoftmaxKernels& softmax_kernels<PF_ISA::kIsa>() {
  using namespace PF_ISA;
  static constexpr SoftmaxKernels kernels = {{softmax_forward<float>, softmax_forward<double>},
                                             {softmax_backward<float>, softmax_backward<double>},
                                             {log_softmax_forward<float>, log_softmax_forward<double>},
                                             {log_softmax_backward<float>, log_softmax_backward<double>}};
  return kernels;
}
}  // namespace pyformer
