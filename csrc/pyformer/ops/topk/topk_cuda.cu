// topk: a thread block sorts each part of a row, in shared memory where it fits; of two sorted runs a thread finds the
// place of each element among both.
#include "pyformer/cuda/kernel.h"
#include "pyformer/ops/topk/topk_order.h"

namespace pyformer::cuda {

constexpr int kSortThreads = 128;
constexpr int64_t kSortShared = 2048;  // entries in shared memory

struct SelectArgs {
  TopkSelect a;
  int64_t places;  // a power of two from the part's length on
  void* entries;   // null: in shared memory
};

// What fills the places up comes after all.
template <class T>
DEVICE bool sorts_before(const Entry<T>& a, const Entry<T>& b) {
  if (a.index < 0 || b.index < 0) return a.index >= 0;
  return before(a, b);
}

// Bitonic: sorts ever longer runs, neighbours in opposite directions.
template <class T>
DEVICE void sort_entries(Entry<T>* entries, int64_t places) {
  for (int64_t run = 2; run <= places; run *= 2)
    for (int64_t apart = run / 2; apart > 0; apart /= 2) {
      __syncthreads();
      for (int64_t pair = threadIdx.x; pair < places / 2; pair += kSortThreads) {
        const int64_t i = 2 * pair - (pair & (apart - 1)), j = i + apart;
        const Entry<T> x = entries[i], y = entries[j];
        if (sorts_before(y, x) != !(i & run)) continue;
        entries[i] = y;
        entries[j] = x;
      }
    }
  __syncthreads();
}

template <class T>
struct SortShared {
  Entry<T> entries[kSortShared];
};

template <class T>
__global__ void __launch_bounds__(kSortThreads, 8) select_part(const SelectArgs args) {
  const TopkSelect& a = args.a;
  const int64_t item = blockIdx.x, parts = a.parts(), number = item % parts, row = item / parts;
  Entry<T>* entries =
      args.entries ? static_cast<Entry<T>*>(args.entries) + item * args.places : shared_memory<SortShared<T>>().entries;
  const int64_t first = number * a.part, length = a.extent - first < a.part ? a.extent - first : a.part;
  const T* x = static_cast<const T*>(a.x) + (row / a.inner * a.extent + first) * a.inner + row % a.inner;
  for (int64_t i = threadIdx.x; i < args.places; i += kSortThreads) {
    if (i < length)
      entries[i] = {x[i * a.inner], first + i};
    else
      entries[i] = {T{}, -1};
  }
  sort_entries(entries, args.places);
  const int64_t to = (row / a.inner * a.out_extent + topk_run_start(number, a.k, a.part)) * a.inner + row % a.inner;
  const int64_t count = topk_run_length(number, a.k, a.part, a.extent);
  for (int64_t i = threadIdx.x; i < count; i += kSortThreads) {
    static_cast<T*>(a.values)[to + i * a.inner] = entries[i].value;
    a.indices[to + i * a.inner] = entries[i].index;
  }
}

template <class T>
static void start_select(const TopkSelect& a, int64_t, int64_t items) {
  SelectArgs args = {a, 1, nullptr};
  while (args.places < a.part && args.places < a.extent) args.places *= 2;
  if (args.places <= kSortShared)
    return start(select_part<T>, items, kSortThreads, unsigned(sizeof(SortShared<T>)), args);
  const Scratch entries(items * args.places * int64_t(sizeof(Entry<T>)));
  args.entries = entries.data();
  start(select_part<T>, items, kSortThreads, 0, args);
}

// Element i of what runs 2 n and 2 n + 1 hold together: its place is its own number and that of those of the other run
// that come before it.
template <class T>
struct MergeElement {
  using Args = TopkMerge;
  static DEVICE void at(const Args& a, int64_t item) {
    const int64_t room = 2 * topk_run_start(1, a.k, a.part), pair = item / room, at = item % room;
    const int64_t number = 2 * pair + (at >= room / 2), i = at % (room / 2);
    if (i >= topk_run_length(number, a.k, a.part, a.extent)) return;
    const auto entry = [&](int64_t run, int64_t n) {
      const int64_t place = topk_run_start(run, a.k, a.part) + n;
      return Entry<T>{static_cast<const T*>(a.from_values)[place], a.from_indices[place]};
    };
    const Entry<T> own = entry(number, i);
    int64_t low = 0, high = topk_run_length(number ^ 1, a.k, a.part, a.extent);
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (before(entry(number ^ 1, middle), own))
        low = middle + 1;
      else
        high = middle;
    }
    if (i + low >= topk_run_length(pair, a.k, 2 * a.part, a.extent)) return;
    const int64_t to = topk_run_start(pair, a.k, 2 * a.part) + i + low;
    static_cast<T*>(a.values)[to] = own.value;
    a.indices[to] = own.index;
  }
};
template <class T>
static void start_merge(const TopkMerge& a, int64_t, int64_t pairs) {
  start_items<MergeElement<T>>(a, pairs * 2 * topk_run_start(1, a.k, a.part));
}

template <>
const TopkTable& cuda_table<TopkTable>() {
  static constexpr TopkTable table = {
      {{start_select<float>, start_select<double>, start_select<BFloat16>, start_select<Float16>, start_select<int64_t>,
        start_select<int32_t>, nullptr, start_select<int8_t>, start_select<uint8_t>}},
      {{start_merge<float>, start_merge<double>, start_merge<BFloat16>, start_merge<Float16>, start_merge<int64_t>,
        start_merge<int32_t>, nullptr, start_merge<int8_t>, start_merge<uint8_t>}}};
  return table;
}

}  // namespace pyformer::cuda
