// cross_entropy: cross_entropy_ref.cpp with a team of threads for each row.
#include "pyformer/cuda/rows.h"
#include "pyformer/ops/cross_entropy/cross_entropy_kernels.h"

namespace pyformer::cuda {

template <class T>
struct CrossEntropyRow {
  using Args = CrossEntropyForward;
  template <class Team>
  static DEVICE void at(const Args& a, Team& team, int64_t row) {
    using A = Accumulator<T>;
    const int64_t V = a.cols, target = a.targets[row];
    const A smoothing = A(a.label_smoothing);
    A loss = 0, m = 0, log_sum = 0;
    if (target != a.ignore_index) {
      const auto first = in<T>(a.logits) + row * V;
      const auto x = [&](int64_t v) { return A(first[v]); };
      m = team.largest(V, x);
      log_sum = log(row_sum(team, V, [&](int64_t v) { return exp_flush(x(v) - m); }));
      loss = log_sum - (x(target) - m);
      if (smoothing != A(0)) {
        const A mean = row_sum(team, V, [&](int64_t v) { return x(v) - m; }) / A(V);
        loss = (A(1) - smoothing) * loss + smoothing * (log_sum - mean);
      }
    }
    if (!team.is_first()) return;
    static_cast<A*>(a.loss)[row] = loss;
    static_cast<A*>(a.max)[row] = m;
    static_cast<A*>(a.log_sum)[row] = log_sum;
  }
};

template <class T>
struct CrossEntropyGradientRow {
  using Args = CrossEntropyBackward;
  template <class Team>
  static DEVICE void at(const Args& a, Team& team, int64_t row) {
    using A = Accumulator<T>;
    const int64_t V = a.cols, target = a.targets[row], count = a.counted && *a.counted > 1 ? *a.counted : 1;
    const A uniform = A(a.label_smoothing) / A(V), rest = A(1) - A(a.label_smoothing);
    const auto x = in<T>(a.logits) + row * V;
    const auto dx = to<T>(a.dlogits) + row * V;
    const A m = static_cast<const A*>(a.max)[row], log_sum = static_cast<const A*>(a.log_sum)[row];
    const A scale = in<T>(a.dout)[row * a.dout_stride] / A(count);
    const bool none = target == a.ignore_index || scale == A(0);
    team.each(V, [&](int64_t v) {
      const A d = exp_flush((x[v] - m) - log_sum) - uniform;
      dx[v] = none ? A(0) : scale * (v == target ? d - rest : d);
    });
  }
};

template <class T>
static void cross_entropy_forward(const CrossEntropyForward& a, int64_t, int64_t) {
  start_rows<CrossEntropyRow<T>, Accumulator<T>>(a, a.rows, a.cols);
}
template <class T>
static void cross_entropy_backward(const CrossEntropyBackward& a, int64_t, int64_t) {
  start_rows<CrossEntropyGradientRow<T>, Accumulator<T>>(a, a.rows, a.cols);
}
template <class T>
static void in_place(const CrossEntropyInPlace& a, int64_t, int64_t) {
  start_rows<CrossEntropyRow<T>, Accumulator<T>>(a.forward, a.forward.rows, a.forward.cols);
  start_rows<CrossEntropyGradientRow<T>, Accumulator<T>>(a.backward, a.backward.rows, a.backward.cols);
}

template <>
const CrossEntropyTable& cuda_table<CrossEntropyTable>() {
  static constexpr CrossEntropyTable table = {
      for_each_float<Kernel<CrossEntropyForward>>(
          []<class T>() -> Kernel<CrossEntropyForward> { return cross_entropy_forward<T>; }),
      for_each_float<Kernel<CrossEntropyBackward>>(
          []<class T>() -> Kernel<CrossEntropyBackward> { return cross_entropy_backward<T>; }),
      for_each_float<Kernel<CrossEntropyInPlace>>(
          []<class T>() -> Kernel<CrossEntropyInPlace> { return in_place<T>; })};
  return table;
}

}  // namespace pyformer::cuda
