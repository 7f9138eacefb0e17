// The loops of reduce over an axis that is not the last: plain code that compilers turn into vector code, because
// columns do not depend on each other.
#pragma once
#include "pyformer/base/element.h"
#include "pyformer/ops/reduce/reduce_kernels.h"

namespace pyformer::PF_ISA {

// sum[c] += the elements of `rows` rows, `apart` elements from one to the next.
template <int rows, class A, class X>
static PF_INLINE void add_rows(A* sum, const X& x, int64_t apart, int64_t count) {
  const auto r0 = x, r1 = x + apart, r2 = x + 2 * apart, r3 = x + 3 * apart;
  for (int64_t c = 0; c < count; ++c) {
    if constexpr (rows == 4)
      sum[c] = (((sum[c] + r0[c]) + r1[c]) + r2[c]) + r3[c];
    else
      sum[c] = sum[c] + r0[c];
  }
}

// The row-reduction rule down each of `count` columns. Lane l of column c is lane[l * count + c]. A lane that has no
// element is +0 and changes no sum, as no lane is -0.
template <class A, class X>
static PF_INLINE void sum_down(const X& x, int64_t rows, int64_t inner, int64_t count, A* lane) {
  const int64_t filled = smaller(rows, kLanes);
  for (int64_t r = 0; r < filled; ++r)
    for (int64_t c = 0; c < count; ++c) lane[r * count + c] = A(0) + x[r * inner + c];
  // Where rows are contiguous, so are the sixteen that meet sixteen lanes.
  const int64_t together = count == inner ? kLanes : 1, width = together * count, apart = kLanes * inner;
  int64_t row = kLanes;
  for (; row + 4 * kLanes <= rows; row += 4 * kLanes)
    for (int64_t l = 0; l < kLanes; l += together) add_rows<4>(lane + l * count, x + (row + l) * inner, apart, width);
  for (; row + kLanes <= rows; row += kLanes)
    for (int64_t l = 0; l < kLanes; l += together) add_rows<1>(lane + l * count, x + (row + l) * inner, 0, width);
  for (; row < rows; ++row) add_rows<1>(lane + row % kLanes * count, x + row * inner, 0, count);
  for (int64_t half = kLanes / 2; half > 0; half /= 2)
    for (int64_t l = 0; l < half && l + half < filled; ++l)
      for (int64_t c = 0; c < count; ++c) lane[l * count + c] = lane[l * count + c] + lane[(l + half) * count + c];
}

template <class T>
static void sum_column_blocks(const SumBlocks& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const int64_t ranges = a.column_ranges();
  for (int64_t item = begin; item < end; ++item) {
    const int64_t first = item % ranges * a.columns, block = item / ranges % a.blocks, outer = item / ranges / a.blocks;
    const int64_t count = smaller(a.columns, a.inner - first), start = block * kReduceBlock;
    A lane[kLanes * SumBlocks::kColumns];
    sum_down(in<T>(a.x) + (outer * a.n + start) * a.inner + first, smaller(kReduceBlock, a.n - start), a.inner, count,
             lane);
    A* sums = static_cast<A*>(a.sums) + (outer * a.blocks + block) * a.inner + first;
    for (int64_t c = 0; c < count; ++c) sums[c] = lane[c] / A(a.divisor);
  }
}

// The running sums of `width` columns of one chain or, where not wanted, their last ones alone, in the place of bases.
template <int width, bool wanted, class T, class Sum>
static PF_INLINE void run_chain(const RunningSums& a, int64_t outer, int64_t chain, int64_t column) {
  const int64_t begin = chain * kChainLength, end = smaller(a.n, begin + kChainLength);
  const int64_t start = outer * a.n * a.inner + column;
  const bool is_first = chain == (a.reverse ? a.chains - 1 : 0);
  const auto x = in<T>(a.x) + start;
  Sum* sums = static_cast<Sum*>(a.sums) + start;
  Sum* base = a.bases ? static_cast<Sum*>(a.bases) + (outer * a.chains + chain) * a.inner + column : nullptr;
  Sum sum[width] = {};
  for (int64_t i = begin; i < end; ++i) {
    const int64_t at = (a.reverse ? begin + end - 1 - i : i) * a.inner;
    for (int c = 0; c < width; ++c) sum[c] = i == begin ? Sum(x[at + c]) : sum[c] + Sum(x[at + c]);
    for (int c = 0; wanted && c < width; ++c) sums[at + c] = is_first ? sum[c] : base[c] + sum[c];
  }
  for (int c = 0; !wanted && c < width; ++c) base[c] = sum[c];
}

template <bool wanted, class T, class Sum>
static void run_chains(const RunningSums& a, int64_t begin, int64_t end) {
  constexpr int kWidth = 16;
  const int64_t ranges = a.column_ranges();
  for (int64_t item = begin; item < end; ++item) {
    const int64_t chain = item / ranges % a.chains, outer = item / ranges / a.chains;
    int64_t column = item % ranges * a.kColumns;
    const int64_t stop = smaller(a.inner, column + a.kColumns);
    for (; column + kWidth <= stop; column += kWidth) run_chain<kWidth, wanted, T, Sum>(a, outer, chain, column);
    for (; column < stop; ++column) run_chain<1, wanted, T, Sum>(a, outer, chain, column);
  }
}

// x takes the place of best; the first of equal values stays, and the first NaN.
template <class T, bool minimum>
static PF_INLINE bool wins(T x, T best) {
  return (minimum ? x < best : x > best) || (x != x && best == best);
}

template <class T, bool minimum>
static void extreme_column_range(const Extreme& a, int64_t outer, int64_t first, int64_t count) {
  using A = Accumulator<T>;
  const auto x = in<T>(a.x) + outer * a.n * a.inner + first;
  A best[Extreme::kColumns];
  int64_t index[Extreme::kColumns];
  for (int64_t c = 0; c < count; ++c) {
    best[c] = x[c];
    index[c] = 0;
  }
  for (int64_t i = 1; i < a.n; ++i) {
    const auto row = x + i * a.inner;
    for (int64_t c = 0; c < count; ++c) {
      const A value = row[c];
      const bool better = wins<A, minimum>(value, best[c]);
      best[c] = better ? value : best[c];
      index[c] = better ? i : index[c];
    }
  }
  const auto out = to<T>(a.out) + outer * a.inner + first;
  for (int64_t c = 0; c < count; ++c) {
    out[c] = best[c];
    a.index[outer * a.inner + first + c] = index[c];
  }
}

template <class T>
static void extreme_columns(const Extreme& a, int64_t begin, int64_t end) {
  const int64_t ranges = a.column_ranges();
  for (int64_t item = begin; item < end; ++item) {
    const int64_t outer = item / ranges, first = item % ranges * a.kColumns;
    const int64_t count = first + a.kColumns < a.inner ? a.kColumns : a.inner - first;
    if (a.minimum)
      extreme_column_range<T, true>(a, outer, first, count);
    else
      extreme_column_range<T, false>(a, outer, first, count);
  }
}

}  // namespace pyformer::PF_ISA
