// retention: retention_column.h with a thread for each column.
#include "pyformer/cuda/kernel.h"
#include "pyformer/ops/retention/retention_column.h"

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
    walk_column<T>(w, head_of.quotient, head_of.rest, d.rest);
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
