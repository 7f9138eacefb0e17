// reduce, vector code for one instruction set; values and order are those of reduce_ref.cpp.
#include "pyformer/base/reduce.h"
#include "pyformer/base/write.h"

#include "pyformer/ops/reduce/reduce_columns.h"

namespace pyformer::PF_ISA {

// Sums of blocks of one size, side by side: each is a chain of additions, whose latency the others fill.
template <class T, int blocks>
static PF_INLINE void sum_together(const T* x, int64_t apart, int64_t size, double divisor, T* sums) {
  Lanes<T> sum[blocks];
#pragma GCC unroll 4
  for (int b = 0; b < blocks; ++b) sum[b] = Lanes<T>::zero();
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
#pragma GCC unroll 4
    for (int b = 0; b < blocks; ++b) sum[b] = sum[b] + Lanes<T>::load(x + b * apart + i);
  }
#pragma GCC unroll 4
  for (int b = 0; b < blocks; ++b) {
    if (i < size) sum[b] = sum[b] + Lanes<T>::load_partial(x + b * apart + i, size - i);
    sums[b] = sum_lanes(sum[b]) / T(divisor);
  }
}

// Whole blocks of a row, and rows of one block, lie at equal distances.
template <class T>
static void sum_row_blocks(const SumBlocks& a, int64_t begin, int64_t end) {
  constexpr int kTogether = 2;
  const auto size_of = [&](int64_t item) {
    const int64_t start = item % a.blocks * kReduceBlock;
    return start + kReduceBlock < a.n ? kReduceBlock : a.n - start;
  };
  T* sums = static_cast<T*>(a.sums);
  for (int64_t item = begin; item < end;) {
    const int64_t size = size_of(item), last = item + kTogether - 1;
    const T* x = static_cast<const T*>(a.x) + item / a.blocks * a.n + item % a.blocks * kReduceBlock;
    if (last < end && (a.blocks == 1 || (size_of(last) == kReduceBlock && item % a.blocks < last % a.blocks))) {
      sum_together<T, kTogether>(x, size, size, a.divisor, sums + item);
      item += kTogether;
    } else {
      sum_together<T, 1>(x, 0, size, a.divisor, sums + item);
      ++item;
    }
  }
}

template <class T>
static void sum_blocks(const SumBlocks& a, int64_t begin, int64_t end) {
  (a.inner == 1 ? sum_row_blocks<T> : sum_column_blocks<T>)(a, begin, end);
}

// The value that wins() picks in each element, NaN before all.
template <class T, bool minimum>
static PF_INLINE Lanes<T> winner(const Lanes<T>& x, const Lanes<T>& best) {
  return each([](Vec<T> v, Vec<T> b) { return select(v != v, v, minimum ? min(v, b) : max(v, b)); }, x, best);
}

template <class T, bool minimum>
static T extreme_value(const T* x, int64_t n) {
  const T worst = minimum ? T(__builtin_inf()) : -T(__builtin_inf());
  Lanes<T> best[4];
  for (Lanes<T>& b : best) b = Lanes<T>::broadcast(worst);
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes)
    for (int64_t j = 0; j < 4; ++j) best[j] = winner<T, minimum>(Lanes<T>::load(x + i + j * kLanes), best[j]);
  for (; i < n; i += kLanes)
    best[0] = winner<T, minimum>(Lanes<T>::load_partial(x + i, n - i < kLanes ? n - i : kLanes, worst), best[0]);
  best[0] = winner<T, minimum>(winner<T, minimum>(best[0], best[1]), winner<T, minimum>(best[2], best[3]));
  return tree_of_lanes(best[0], [](auto a, auto b) {
    const auto better = minimum ? (a < b ? a : b) : (a > b ? a : b);
    return a != a ? a : better;  // NaN in b is better's already
  });
}

// The first i with x[i] == value, or the first NaN where value is one.
template <class T>
static int64_t first_equal(const T* x, int64_t n, T value) {
  constexpr int64_t width = Vec<T>::width;
  const Vec<T> wanted = Vec<T>::broadcast(value);
  const bool is_nan = value != value;
  const auto hits = [&](int64_t at) {
    const Vec<T> v = Vec<T>::load(x + at);
    return is_nan ? v != v : v == wanted;
  };
  int64_t i = 0;
  for (; i + 4 * width <= n; i += 4 * width) {
    const auto first = mask_or(hits(i), hits(i + width)), second = mask_or(hits(i + 2 * width), hits(i + 3 * width));
    if (any(mask_or(first, second))) break;
  }
  while (is_nan ? x[i] == x[i] : x[i] != value) ++i;
  return i;
}

template <class T>
static void extreme_rows(const Extreme& a, int64_t begin, int64_t end) {
  for (int64_t item = begin; item < end; ++item) {
    const int64_t start = item % a.parts * a.part_size(), n = smaller(a.part_size(), a.n - start);
    const T* x = static_cast<const T*>(a.x) + item / a.parts * a.n + start;
    const T value = a.minimum ? extreme_value<T, true>(x, n) : extreme_value<T, false>(x, n);
    a.index[item] = first_equal(x, n, value);
    static_cast<T*>(a.out)[item] = x[a.index[item]];
  }
}

template <class T>
static void spread(const Spread& a, int64_t begin, int64_t end) {
  const T* dout = static_cast<const T*>(a.dout);
  const Vec<T> divisor = Vec<T>::broadcast(T(a.divisor));
  for (int64_t row = begin; row < end;) {
    const int64_t outer = row / a.n;
    T* dx = static_cast<T*>(a.dx) + row * a.inner;
    if (a.inner == 1) {  // the rest of an outer index is one value
      const int64_t count = ((outer + 1) * a.n < end ? (outer + 1) * a.n : end) - row;
      const Vec<T> value = Vec<T>::broadcast(dout[outer] / T(a.divisor));
      write_row(dx, count, a.nontemporal, [&](int64_t, int64_t) { return value; });
      row += count;
    } else {
      const T* from = dout + outer * a.inner;
      write_row(dx, a.inner, a.nontemporal, [&](int64_t i, int64_t n) { return load_vec(from + i, n) / divisor; });
      ++row;
    }
  }
  if (a.nontemporal) nontemporal_fence();
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const ReduceTable& KernelsOf<ReduceTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr ReduceTable table = {
      .sum_blocks = for_loop_floats<Kernel<SumBlocks>>([]<class T>() -> Kernel<SumBlocks> { return sum_blocks<T>; }),
      .sum_tree = {},  // a tree of a few sums: the plain loop serves
      .sum_integers = {},
      .extreme_rows = for_loop_floats<Kernel<Extreme>>([]<class T>() -> Kernel<Extreme> { return extreme_rows<T>; }),
      .extreme_columns =
          for_loop_floats<Kernel<Extreme>>([]<class T>() -> Kernel<Extreme> { return extreme_columns<T>; }),
      .extreme_of_parts = {},
      .spread = for_loop_floats<Kernel<Spread>>([]<class T>() -> Kernel<Spread> { return spread<T>; }),
      .scatter = {},
      .running_totals = for_loop_floats<Kernel<RunningSums>>(
          []<class T>() -> Kernel<RunningSums> { return run_chains<false, T, T>; }),
      .running_sums =
          for_loop_floats<Kernel<RunningSums>>([]<class T>() -> Kernel<RunningSums> { return run_chains<true, T, T>; }),
      .running_bases = {}};
  return table;
}
}  // namespace pyformer
