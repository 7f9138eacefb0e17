// The row-reduction rule as scalar code, for *_ref.cpp: element i of a block of 4,096 is added to virtual lane
// i mod 16, lanes meet in a binary tree (sum_lanes), block sums meet in a binary tree over the blocks (BlockTree).
// *_cpu.cpp take the same sums with Lanes<T> and BlockTree. Rows of at most 4,096 elements are one block.
#pragma once
#include "pyformer/base/vec.h"

namespace pyformer::PF_ISA {

// Adds block sums in the order of a binary counter: equal-sized neighbours first, then what is left, newest first.
template <class T>
class BlockTree {
 public:
  PF_INLINE void add(T block_sum) {
    int level = 0;
    for (int64_t n = count_; n & 1; n >>= 1) block_sum = sum_[level++] + block_sum;
    sum_[level] = block_sum;
    ++count_;
  }
  PF_INLINE T total() const {
    T sum{};
    bool any = false;
    for (int level = 0; level < 63 && (count_ >> level); ++level)
      if ((count_ >> level) & 1) {
        sum = any ? sum_[level] + sum : sum_[level];
        any = true;
      }
    return sum;
  }

 private:
  T sum_[63];
  int64_t count_ = 0;
};

// sum_i accumulate(i, lane): accumulate returns the new value of a lane given element i and the old value.
template <class T, class Accumulate>
T row_reduce(int64_t n, const Accumulate& accumulate) {
  BlockTree<T> tree;
  for (int64_t start = 0; start < n; start += kReduceBlock) {
    const int64_t stop = start + kReduceBlock < n ? start + kReduceBlock : n;
    T lane[kLanes] = {};
    for (int64_t i = start; i < stop; ++i) lane[(i - start) % kLanes] = accumulate(i, lane[(i - start) % kLanes]);
    tree.add(sum_lanes(lane));
  }
  return tree.total();
}

// sum_i x(i)
template <class T, class X>
T row_sum(int64_t n, const X& x) {
  return row_reduce<T>(n, [&](int64_t i, T lane) { return lane + x(i); });
}

// sum_i x(i) * y(i), by FMA
template <class T, class X, class Y>
T row_dot(int64_t n, const X& x, const Y& y) {
  return row_reduce<T>(n, [&](int64_t i, T lane) { return fma(x(i), y(i), lane); });
}

// The first n lanes of `fresh` and the others of `old`: what is computed beyond a row's end does not count.
template <class T>
constexpr T kLaneIndex[kLanes] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
template <class T>
PF_INLINE Lanes<T> first_lanes(int64_t n, const Lanes<T>& fresh, const Lanes<T>& old) {
  return select(Lanes<T>::load(kLaneIndex<T>) < Lanes<T>::broadcast(T(n)), fresh, old);
}

// `count` of the same sums in one pass over a row, with Lanes: accumulate(i, n, sums) adds elements i .. i + n to each;
// n is 16 except at the end, where what it leaves in lanes from n on is ignored.
template <int count, class T, class Accumulate>
PF_INLINE void lanes_sums(int64_t n, const Accumulate& accumulate, T (&totals)[count]) {
  BlockTree<T> trees[count];
  for (int64_t start = 0; start < n; start += kReduceBlock) {
    const int64_t stop = start + kReduceBlock < n ? start + kReduceBlock : n;
    Lanes<T> sums[count], before[count];
    for (int s = 0; s < count; ++s) sums[s] = Lanes<T>::zero();
    int64_t i = start;
    for (; i + kLanes <= stop; i += kLanes) accumulate(i, kLanes, sums);
    if (i < stop) {
      for (int s = 0; s < count; ++s) before[s] = sums[s];
      accumulate(i, stop - i, sums);
      for (int s = 0; s < count; ++s) sums[s] = first_lanes(stop - i, sums[s], before[s]);
    }
    for (int s = 0; s < count; ++s) trees[s].add(sum_lanes(sums[s]));
  }
  for (int s = 0; s < count; ++s) totals[s] = trees[s].total();
}
// One sum: accumulate(i, n, lanes) returns the new lanes.
template <class T, class Accumulate>
PF_INLINE T lanes_reduce(int64_t n, const Accumulate& accumulate) {
  T total[1];
  lanes_sums(n, [&](int64_t i, int64_t part, Lanes<T>* sum) { *sum = accumulate(i, part, *sum); }, total);
  return total[0];
}

// Loads 16 elements, or n < 16 with zeros after them.
template <class T>
PF_INLINE Lanes<T> load_lanes(const T* p, int64_t n) {
  return n == kLanes ? Lanes<T>::load(p) : Lanes<T>::load_partial(p, n);
}
template <class T>
PF_INLINE void store_lanes(const Lanes<T>& l, T* p, int64_t n) {
  n == kLanes ? l.store(p) : l.store_partial(p, n);
}

}  // namespace pyformer::PF_ISA
