// topk, plain loops.
#include "pyformer/ops/topk/topk_order.h"

namespace pyformer::PF_ISA {

// Elements `stride` apart.
template <class T>
struct Run {
  T* values;
  int64_t* indices;
  int64_t stride;
  PF_INLINE Entry<T> get(int64_t i) const { return {values[i * stride], indices[i * stride]}; }
  PF_INLINE void set(int64_t i, const Entry<T>& entry) const {
    values[i * stride] = entry.value;
    indices[i * stride] = entry.index;
  }
};

// In a heap each entry comes after the two below it, so that the last of all is at the top. Puts `entry` in the place
// of the one at `at`, whose subheaps are in order.
template <class T>
static void sift_down(const Run<T>& heap, int64_t at, int64_t count, const Entry<T>& entry) {
  for (;;) {
    int64_t below = 2 * at + 1;
    if (below >= count) break;
    if (below + 1 < count && before(heap.get(below), heap.get(below + 1))) ++below;
    if (!before(entry, heap.get(below))) break;
    heap.set(at, heap.get(below));
    at = below;
  }
  heap.set(at, entry);
}

// The first `count` of x[0], x[stride], ... x[(length - 1) * stride], whose indices count from `first` on, in order.
template <class T>
static void select_part(const T* x, int64_t stride, int64_t first, int64_t length, int64_t count, const Run<T>& out) {
  if (count == 0) return;
  for (int64_t i = 0; i < count; ++i) out.set(i, {x[i * stride], first + i});
  for (int64_t i = count / 2 - 1; i >= 0; --i) sift_down(out, i, count, out.get(i));
  Entry<T> last = out.get(0);
  for (int64_t i = count; i < length; ++i) {
    const Entry<T> entry = {x[i * stride], first + i};
    if (!before(entry, last)) continue;
    sift_down(out, 0, count, entry);
    last = out.get(0);
  }
  for (int64_t left = count - 1; left > 0; --left) {  // the last of those left goes behind them
    const Entry<T> moved = out.get(left);
    out.set(left, out.get(0));
    sift_down(out, 0, left, moved);
  }
}

template <class T>
static void select(const TopkSelect& a, int64_t begin, int64_t end) {
  const int64_t parts = a.parts();
  for (int64_t item = begin; item < end; ++item) {
    const int64_t number = item % parts, row = item / parts, first = number * a.part;
    const int64_t length = a.extent - first < a.part ? a.extent - first : a.part;
    const T* x = static_cast<const T*>(a.x) + (row / a.inner * a.extent + first) * a.inner + row % a.inner;
    const int64_t to = (row / a.inner * a.out_extent + topk_run_start(number, a.k, a.part)) * a.inner + row % a.inner;
    select_part(x, a.inner, first, length, topk_run_length(number, a.k, a.part, a.extent),
                Run<T>{static_cast<T*>(a.values) + to, a.indices + to, a.inner});
  }
}

template <class T>
static void merge(const TopkMerge& a, int64_t begin, int64_t end) {
  const auto run = [&](const void* values, const int64_t* indices, int64_t number, int64_t part) {
    const int64_t start = topk_run_start(number, a.k, part);
    return Run<T>{static_cast<T*>(const_cast<void*>(values)) + start, const_cast<int64_t*>(indices) + start, 1};
  };
  for (int64_t item = begin; item < end; ++item) {
    const Run<T> left = run(a.from_values, a.from_indices, 2 * item, a.part);
    const Run<T> right = run(a.from_values, a.from_indices, 2 * item + 1, a.part);
    const Run<T> out = run(a.values, a.indices, item, 2 * a.part);
    const int64_t left_count = topk_run_length(2 * item, a.k, a.part, a.extent);
    const int64_t right_count = topk_run_length(2 * item + 1, a.k, a.part, a.extent);
    const int64_t count = topk_run_length(item, a.k, 2 * a.part, a.extent);
    int64_t i = 0, j = 0;
    for (int64_t n = 0; n < count; ++n) {
      const bool takes_left = j == right_count || (i < left_count && before(left.get(i), right.get(j)));
      out.set(n, takes_left ? left.get(i++) : right.get(j++));
    }
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const TopkTable& KernelsOf<TopkTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr TopkTable table = {{{select<float>, select<double>, select<BFloat16>, select<Float16>,
                                        select<int64_t>, select<int32_t>, nullptr, select<int8_t>, select<uint8_t>}},
                                      {{merge<float>, merge<double>, merge<BFloat16>, merge<Float16>, merge<int64_t>,
                                        merge<int32_t>, nullptr, merge<int8_t>, merge<uint8_t>}}};
  return table;
}
}  // namespace pyformer
