// The loops of reduce over an axis that is not the last: plain code that compilers turn into vector code, because
// columns do not depend on each other.
#pragma once
#include "pyformer/base/element.h"
#include "pyformer/ops/reduce/reduce_kernels.h"

namespace pyformer::PF_ISA {

template <class T>
static void sum_chains(const SumChains& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const int64_t ranges = a.column_ranges();
  for (int64_t item = begin; item < end; ++item) {
    const int64_t range = item % ranges, chain = item / ranges % a.chains, outer = item / ranges / a.chains;
    const int64_t first = range * a.kColumns;
    const int64_t count = first + a.kColumns < a.inner ? a.kColumns : a.inner - first;
    const int64_t start = chain * kChainLength, stop = start + kChainLength < a.n ? start + kChainLength : a.n;
    const auto x = in<T>(a.x) + outer * a.n * a.inner + first;
    A* sums = static_cast<A*>(a.sums) + (outer * a.chains + chain) * a.inner + first;
    A sum[SumChains::kColumns];
    for (int64_t c = 0; c < count; ++c) sum[c] = A(0);
    int64_t i = start;
    for (; i + 4 <= stop; i += 4) {  // four rows a pass over the sums
      const auto r0 = x + i * a.inner, r1 = r0 + a.inner, r2 = r1 + a.inner, r3 = r2 + a.inner;
      for (int64_t c = 0; c < count; ++c) sum[c] = (((sum[c] + r0[c]) + r1[c]) + r2[c]) + r3[c];
    }
    for (; i < stop; ++i) {
      const auto row = x + i * a.inner;
      for (int64_t c = 0; c < count; ++c) sum[c] = sum[c] + row[c];
    }
    for (int64_t c = 0; c < count; ++c) sums[c] = sum[c] / A(a.divisor);
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
