// cross_entropy, vector code for one instruction set: one read of a row for its maximum, one for exp and the sums.
// Formulas and summation order are those of cross_entropy_ref.cpp.
#include "pyformer/ops/cross_entropy/cross_entropy_kernels.h"

#include "pyformer/base/math.h"
#include "pyformer/base/write.h"
#include "pyformer/ops/softmax/softmax_rows.h"

namespace pyformer::PF_ISA {

template <class T>
static T mean_above(const T* x, int64_t V, T m) {
  return lanes_reduce<T>(V,
                         [&](int64_t i, int64_t n, const Lanes<T>& lanes) {
                           const Lanes<T> v = n == kLanes ? Lanes<T>::load(x + i) : Lanes<T>::load_partial(x + i, n, m);
                           return lanes + (v - Lanes<T>::broadcast(m));
                         }) /
         T(V);
}

template <class T>
static void forward(const CrossEntropyForward& a, int64_t begin, int64_t end) {
  const int64_t V = a.cols;
  const T smoothing = T(a.label_smoothing);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t target = a.targets[row];
    T loss = T(0), m = T(0), log_sum = T(0);
    if (target != a.ignore_index) {
      const T* x = static_cast<const T*>(a.logits) + row * V;
      m = row_max(x, V);
      const Lanes<T> m_lanes = Lanes<T>::broadcast(m);
      log_sum = log(lanes_reduce<T>(V, [&](int64_t i, int64_t n, const Lanes<T>& lanes) {
        prefetch_lanes(x + V + i);
        return lanes + exp_flush(load_logits(x + i, n) - m_lanes);
      }));
      loss = log_sum - (x[target] - m);
      if (smoothing != T(0)) {
        const T mean = mean_above(x, V, m);
        loss = (T(1) - smoothing) * loss + smoothing * (log_sum - mean);
      }
    }
    static_cast<T*>(a.loss)[row] = loss;
    static_cast<T*>(a.max)[row] = m;
    static_cast<T*>(a.log_sum)[row] = log_sum;
  }
}

template <class T>
static void backward(const CrossEntropyBackward& a, int64_t begin, int64_t end) {
  const int64_t V = a.cols;
  const T uniform = T(a.label_smoothing) / T(V), rest = T(1) - T(a.label_smoothing);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t target = a.targets[row];
    const T* x = static_cast<const T*>(a.logits) + row * V;
    T* dx = static_cast<T*>(a.dlogits) + row * V;
    const T scale = static_cast<const T*>(a.dout)[row * a.dout_stride] / T(divisor_of(a));
    if (target == a.ignore_index || scale == T(0)) {
      for (int64_t v = 0; v < V; ++v) dx[v] = T(0);
      continue;
    }
    const T m = static_cast<const T*>(a.max)[row], log_sum = static_cast<const T*>(a.log_sum)[row];
    const T at_target = scale * (exp_flush((x[target] - m) - log_sum) - uniform - rest);
    const Vec<T> m_vec = Vec<T>::broadcast(m), log_sum_vec = Vec<T>::broadcast(log_sum);
    const Vec<T> scale_vec = Vec<T>::broadcast(scale), uniform_vec = Vec<T>::broadcast(uniform);
    write_row(dx, V, a.nontemporal, [&](int64_t i, int64_t n) {
      const Vec<T> p = exp_flush((load_vec(x + i, n) - m_vec) - log_sum_vec);
      return scale_vec * (p - uniform_vec);
    });
    dx[target] = at_target;
  }
  if (a.nontemporal) nontemporal_fence();
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
  static constexpr CrossEntropyTable table = {{{forward<float>, forward<double>}},
                                              {{backward<float>, backward<double>}},
                                              {{in_place<float>, in_place<double>}}};
  return table;
}
}  // namespace pyformer
