// retention: the columns of retention_column.h one after another.
#include <cstring>

#include "pyformer/ops/retention/retention_column.h"

namespace pyformer::PF_ISA {

template <class T>
static void check(const RetentionCheck& a, int64_t, int64_t) {
  a.offender[0] = -1;
  for (int64_t h = 0; h < a.heads && a.offender[0] < 0; ++h) {
    const double g = double(static_cast<const T*>(a.decay)[h]);
    if (g > 0 && g <= 1) continue;
    a.offender[0] = h;
    std::memcpy(a.offender + 1, &g, 8);
  }
}

template <class T>
static void walk(const RetentionWalk& w, int64_t begin, int64_t end) {
  for (int64_t item = begin; item < end; ++item) {
    const int64_t head = item / w.column_ranges(), first = item % w.column_ranges() * w.kColumns;
    for (int64_t c = first; c < w.cols && c < first + w.kColumns; ++c)
      walk_column<T>(w, head / w.heads, head % w.heads, c);
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const RetentionTable& KernelsOf<RetentionTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr RetentionTable table = {{{check<float>, check<double>}}, {{walk<float>, walk<double>}}};
  return table;
}
}  // namespace pyformer
