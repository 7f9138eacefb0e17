// retention: retention_ref.cpp with a thread for each column of a head's matrix.
#include "pyformer/cuda/kernel.h"
#include "pyformer/ops/retention/retention_kernels.h"

namespace pyformer::cuda {

template <class T>
struct DecayCheck {
  using Args = RetentionCheck;
  static DEVICE void at(const Args& a, int64_t) {
    a.offender[0] = -1;
    for (int64_t h = 0; h < a.heads && a.offender[0] < 0; ++h) {
      const double g = double(static_cast<const T*>(a.decay)[h]);
      if (g > 0 && g <= 1) continue;
      a.offender[0] = h;
      a.offender[1] = int64_t(to_bits(g));
    }
  }
};

template <class T>
struct RetentionColumn {
  using Args = RetentionWalk;
  static DEVICE void at(const Args& w, int64_t item) {
    const Divided d = divided(item, w.cols), head_of = divided(d.quotient, w.heads);
    const int64_t c = d.rest, head = head_of.rest, batch = head_of.quotient;
    const int64_t matrix = d.quotient * w.rows * w.cols;
    const double g = double(static_cast<const T*>(w.decay)[head]);
    double* S = w.end + matrix + c;
    for (int64_t i = 0; i < w.rows; ++i)
      S[i * w.cols] = w.start ? w.start[matrix + i * w.start_row + c * w.start_col] : 0.0;
    for (int64_t step = 0; step < w.tokens; ++step) {
      const int64_t token = (batch * w.tokens + (w.backwards ? w.tokens - 1 - step : step)) * w.heads + head;
      const T* a = static_cast<const T*>(w.a) + token * w.rows;
      const T* r = static_cast<const T*>(w.r) + token * w.rows;
      const double b = double(static_cast<const T*>(w.b)[token * w.cols + c]);
      double sum = 0.0;
      for (int64_t i = 0; i < w.rows; ++i) {
        const double s = S[i * w.cols], next = fma(double(a[i]), b, w.backwards ? s : s * g);
        sum = fma(double(r[i]), next, sum);
        S[i * w.cols] = w.backwards ? next * g : next;
      }
      static_cast<T*>(w.out)[token * w.cols + c] = T(sum);
    }
  }
};

template <class T>
static void start_walk(const RetentionWalk& w, int64_t, int64_t) {
  start_items<RetentionColumn<T>>(w, w.batch * w.heads * w.cols);
}

template <>
const RetentionTable& cuda_table<RetentionTable>() {
  static constexpr RetentionTable table = {
      for_wide_floats<Kernel<RetentionCheck>>(
          []<class T>() -> Kernel<RetentionCheck> { return each_item<DecayCheck<T>>; }),
      for_wide_floats<Kernel<RetentionWalk>>([]<class T>() -> Kernel<RetentionWalk> { return start_walk<T>; })};
  return table;
}

}  // namespace pyformer::cuda
