// cross_entropy: cross_entropy_ref.cpp with a team of threads for each row.
#include "pyformer/cuda/rows.h"
#include "pyformer/ops/cross_entropy/cross_entropy_kernels.h"

namespace pyformer::cuda {

template <class T>
struct CrossEntropyRow {
  using Args = CrossEntropyForward;
  template <class Team>
  static DEVICE void at(const Args& a, Team& team, int64_t row) {
    const int64_t V = a.cols, target = a.targets[row];
    const float smoothing = float(a.label_smoothing);
    float loss = 0, m = 0, log_sum = 0;
    if (target != a.ignore_index) {
      const auto first = in<T>(a.logits) + row * V;
      const auto x = [&](int64_t v) { return float(first[v]); };
      m = team.largest(V, x);
      log_sum = log(row_sum(team, V, [&](int64_t v) { return exp_flush(x(v) - m); }));
      loss = log_sum - (x(target) - m);
      if (smoothing != 0.0f) {
        const float mean = row_sum(team, V, [&](int64_t v) { return x(v) - m; }) / float(V);
        loss = (1.0f - smoothing) * loss + smoothing * (log_sum - mean);
      }
    }
    if (!team.is_first()) return;
    static_cast<float*>(a.loss)[row] = loss;
    static_cast<float*>(a.max)[row] = m;
    static_cast<float*>(a.log_sum)[row] = log_sum;
  }
};

template <class T>
struct CrossEntropyGradientRow {
  using Args = CrossEntropyBackward;
  template <class Team>
  static DEVICE void at(const Args& a, Team& team, int64_t row) {
    const int64_t V = a.cols, target = a.targets[row], count = a.counted && *a.counted > 1 ? *a.counted : 1;
    const float uniform = float(a.label_smoothing) / float(V), rest = 1.0f - float(a.label_smoothing);
    const auto x = in<T>(a.logits) + row * V;
    const auto dx = to<T>(a.dlogits) + row * V;
    const float m = static_cast<const float*>(a.max)[row], log_sum = static_cast<const float*>(a.log_sum)[row];
    const float scale = in<T>(a.dout)[row * a.dout_stride] / float(count);
    const bool none = target == a.ignore_index || scale == 0.0f;
    team.each(V, [&](int64_t v) {
      const float d = exp_flush((x[v] - m) - log_sum) - uniform;
      dx[v] = none ? 0.0f : scale * (v == target ? d - rest : d);
    });
  }
};

template <class T>
static void cross_entropy_forward(const CrossEntropyForward& a, int64_t, int64_t) {
  start_rows<CrossEntropyRow<T>>(a, a.rows, a.cols);
}
template <class T>
static void cross_entropy_backward(const CrossEntropyBackward& a, int64_t, int64_t) {
  start_rows<CrossEntropyGradientRow<T>>(a, a.rows, a.cols);
}
template <class T>
static void in_place(const CrossEntropyInPlace& a, int64_t, int64_t) {
  start_rows<CrossEntropyRow<T>>(a.forward, a.forward.rows, a.forward.cols);
  start_rows<CrossEntropyGradientRow<T>>(a.backward, a.backward.rows, a.backward.cols);
}

template <>
const CrossEntropyTable& cuda_table<CrossEntropyTable>() {
  static constexpr CrossEntropyTable table = {
      for_cuda_floats<Kernel<CrossEntropyForward>>(
          []<class T>() -> Kernel<CrossEntropyForward> { return cross_entropy_forward<T>; }),
      for_cuda_floats<Kernel<CrossEntropyBackward>>(
          []<class T>() -> Kernel<CrossEntropyBackward> { return cross_entropy_backward<T>; }),
      for_cuda_floats<Kernel<CrossEntropyInPlace>>(
          []<class T>() -> Kernel<CrossEntropyInPlace> { return in_place<T>; })};
  return table;
}

}  // namespace pyformer::cuda
