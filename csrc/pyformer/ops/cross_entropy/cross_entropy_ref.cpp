// cross_entropy, plain loops. With m = max_v x, s = label smoothing and sums in the order of the row-reduction rule:
//
//   log_sum = log(sum_v exp(x - m))
//   loss    = log_sum - (x[target] - m)                                              s = 0
//   loss    = (1 - s) * (log_sum - (x[target] - m)) + s * (log_sum - sum_v(x - m) / V)
#include "pyformer/ops/cross_entropy/cross_entropy_kernels.h"

#include "pyformer/base/element.h"
#include "pyformer/base/math.h"
#include "pyformer/base/reduce.h"

namespace pyformer::PF_ISA {

template <class T>
static void forward(const CrossEntropyForward& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const int64_t V = a.cols;
  const A smoothing = A(a.label_smoothing);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t target = a.targets[row];
    A loss = A(0), m = A(0), log_sum = A(0);
    if (target != a.ignore_index) {
      const auto x = in<T>(a.logits) + row * V;
      m = -A(__builtin_inf());
      for (int64_t v = 0; v < V; ++v) m = max(A(x[v]), m);
      log_sum = log(row_sum<A>(V, [&](int64_t v) { return exp_flush(x[v] - m); }));
      loss = log_sum - (x[target] - m);
      if (smoothing != A(0)) {
        const A mean = row_sum<A>(V, [&](int64_t v) { return x[v] - m; }) / A(V);
        loss = (A(1) - smoothing) * loss + smoothing * (log_sum - mean);
      }
    }
    static_cast<A*>(a.loss)[row] = loss;
    static_cast<A*>(a.max)[row] = m;
    static_cast<A*>(a.log_sum)[row] = log_sum;
  }
}

// dlogits = dout / count * (exp((x - m) - log_sum) - s / V - (1 - s) [v == target]), 0 in ignored rows and where
// dout is 0, whatever the logits
template <class T>
static void backward(const CrossEntropyBackward& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const int64_t V = a.cols;
  const A uniform = A(a.label_smoothing) / A(V), rest = A(1) - A(a.label_smoothing);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t target = a.targets[row];
    const auto x = in<T>(a.logits) + row * V;
    const auto dx = to<T>(a.dlogits) + row * V;
    const A m = static_cast<const A*>(a.max)[row], log_sum = static_cast<const A*>(a.log_sum)[row];
    const A scale = in<T>(a.dout)[row * a.dout_stride] / A(divisor_of(a));
    for (int64_t v = 0; v < V; ++v) {
      const A d = exp_flush((x[v] - m) - log_sum) - uniform;
      dx[v] = target == a.ignore_index || scale == A(0) ? A(0) : scale * (v == target ? d - rest : d);
    }
  }
}

template <class T>
static void in_place(const CrossEntropyInPlace& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    forward<T>(a.forward, row, row + 1);
    backward<T>(a.backward, row, row + 1);
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const CrossEntropyTable& KernelsOf<CrossEntropyTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr CrossEntropyTable table = {
      for_each_float<Kernel<CrossEntropyForward>>([]<class T>() -> Kernel<CrossEntropyForward> { return forward<T>; }),
      for_each_float<Kernel<CrossEntropyBackward>>(
          []<class T>() -> Kernel<CrossEntropyBackward> { return backward<T>; }),
      for_each_float<Kernel<CrossEntropyInPlace>>(
          []<class T>() -> Kernel<CrossEntropyInPlace> { return in_place<T>; })};
  return table;
}
}  // namespace pyformer
