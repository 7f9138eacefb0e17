// cross_entropy, plain loops. With m = max_v x, s = label smoothing and sums in the order of the row-reduction rule:
//
//   log_sum = log(sum_v exp(x - m))
//   loss    = log_sum - (x[target] - m)                                              s = 0
//   loss    = (1 - s) * (log_sum - (x[target] - m)) + s * (log_sum - sum_v(x - m) / V)
#include "pyformer/ops/cross_entropy/cross_entropy_kernels.h"

#include "pyformer/base/math.h"
#include "pyformer/base/reduce.h"

namespace pyformer::PF_ISA {

template <class T>
static void forward(const CrossEntropyForward& a, int64_t begin, int64_t end) {
  const int64_t V = a.cols;
  const T smoothing = T(a.label_smoothing);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t target = a.targets[row];
    T loss = T(0), m = T(0), log_sum = T(0);
    if (target != a.ignore_index) {
      const T* x = static_cast<const T*>(a.logits) + row * V;
      m = -T(__builtin_inf());
      for (int64_t v = 0; v < V; ++v) m = max(x[v], m);
      log_sum = log(row_sum<T>(V, [&](int64_t v) { return exp_flush(x[v] - m); }));
      loss = log_sum - (x[target] - m);
      if (smoothing != T(0)) {
        const T mean = row_sum<T>(V, [&](int64_t v) { return x[v] - m; }) / T(V);
        loss = (T(1) - smoothing) * loss + smoothing * (log_sum - mean);
      }
    }
    static_cast<T*>(a.loss)[row] = loss;
    static_cast<T*>(a.max)[row] = m;
    static_cast<T*>(a.log_sum)[row] = log_sum;
  }
}

// dlogits = dout / divisor * (exp((x - m) - log_sum) - s / V - (1 - s) [v == target]), 0 in ignored rows
template <class T>
static void backward(const CrossEntropyBackward& a, int64_t begin, int64_t end) {
  const int64_t V = a.cols;
  const T uniform = T(a.label_smoothing) / T(V), rest = T(1) - T(a.label_smoothing);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t target = a.targets[row];
    const T* x = static_cast<const T*>(a.logits) + row * V;
    T* dx = static_cast<T*>(a.dlogits) + row * V;
    const T m = static_cast<const T*>(a.max)[row], log_sum = static_cast<const T*>(a.log_sum)[row];
    const T scale = static_cast<const T*>(a.dout)[row * a.dout_stride] / T(a.divisor);
    for (int64_t v = 0; v < V; ++v) {
      const T d = exp_flush((x[v] - m) - log_sum) - uniform;
      dx[v] = target == a.ignore_index ? T(0) : scale * (v == target ? d - rest : d);
    }
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const CrossEntropyKernels& cross_entropy_kernels<PF_ISA::kIsa>() {
  static constexpr CrossEntropyKernels kernels = {{PF_ISA::forward<float>, PF_ISA::forward<double>},
                                                  {PF_ISA::backward<float>, PF_ISA::backward<double>}};
  return kernels;
}
}  // namespace pyformer
