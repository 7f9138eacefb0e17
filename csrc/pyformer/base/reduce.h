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
    T sum = splat<T>(0);
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

// The same sums with Lanes: accumulate(i, n, lanes) adds elements i .. i + n; n is 16 except at the end.
template <class T, class Accumulate>
PF_INLINE T lanes_reduce(int64_t n, const Accumulate& accumulate) {
  BlockTree<T> tree;
  for (int64_t start = 0; start < n; start += kReduceBlock) {
    const int64_t stop = start + kReduceBlock < n ? start + kReduceBlock : n;
    Lanes<T> lanes = Lanes<T>::zero();
    int64_t i = start;
    for (; i + kLanes <= stop; i += kLanes) lanes = accumulate(i, kLanes, lanes);
    if (i < stop) lanes = accumulate(i, stop - i, lanes);
    tree.add(sum_lanes(lanes));
  }
  return tree.total();
}

// 1 / sqrt(square) for a norm; NaN where the sum of squares is infinite, so that such a row does not pass as zeros.
template <class T>
PF_INLINE T reciprocal_root(T square) {
  return T(1) / sqrt(square) + square * T(0);
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
