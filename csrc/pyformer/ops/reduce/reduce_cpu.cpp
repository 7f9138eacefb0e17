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

// Where a or b is NaN.
template <class T>
static PF_INLINE Mask<T> unordered(Vec<T> a, Vec<T> b) {
#if defined(__AVX2__) && !defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return {(IntRegister<T>)_mm256_cmp_ps(a.r, b.r, _CMP_UNORD_Q)};
  else
    return {(IntRegister<T>)_mm256_cmp_pd(a.r, b.r, _CMP_UNORD_Q)};
#else
  return mask_or(a != a, b != b);
#endif
}

// Bit i is element i.
template <class T>
static PF_INLINE uint32_t which(Mask<T> a) {
#if defined(__AVX512F__)
  return sizeof(T) == 4 ? _mm512_movepi32_mask((__m512i)a.r) : _mm512_movepi64_mask((__m512i)a.r);
#elif defined(__AVX2__)
  return uint32_t(sizeof(T) == 4 ? _mm256_movemask_ps((__m256)a.r) : _mm256_movemask_pd((__m256d)a.r));
#else
  uint32_t bits = 0;
  for (int64_t i = 0; i < Vec<T>::width; ++i) bits |= uint32_t(a.r[i] & 1) << i;
  return bits;
#endif
}

// The extreme of what is no NaN, and whether there is a NaN: one comparison of two registers tells.
template <class T, bool minimum>
static T extreme_value(const T* x, int64_t n, bool& has_nan) {
  constexpr int64_t width = Vec<T>::width;
  constexpr int kAtOnce = 8;
  constexpr T worst = minimum ? T(__builtin_inf()) : -T(__builtin_inf());
  const auto better = [](Vec<T> v, Vec<T> old) { return minimum ? min(v, old) : max(v, old); };  // of a NaN in v, old
  Vec<T> best[kAtOnce];
  Mask<T> nan[2] = {};
#pragma GCC unroll 8
  for (Vec<T>& b : best) b = Vec<T>::broadcast(worst);
  int64_t i = 0;
  for (; i + kAtOnce * width <= n; i += kAtOnce * width) {
#pragma GCC unroll 8
    for (int j = 0; j < kAtOnce; j += 2) {
      const Vec<T> v = Vec<T>::load(x + i + j * width), w = Vec<T>::load(x + i + (j + 1) * width);
      best[j] = better(v, best[j]);
      best[j + 1] = better(w, best[j + 1]);
      nan[j / 2 % 2] = mask_or(nan[j / 2 % 2], unordered(v, w));
    }
  }
  for (; i < n; i += width) {
    const Vec<T> v = n - i < width ? Vec<T>::load_partial(x + i, n - i, worst) : Vec<T>::load(x + i);
    best[0] = better(v, best[0]);
    nan[0] = mask_or(nan[0], unordered(v, v));
  }
  has_nan = any(mask_or(nan[0], nan[1]));
  for (int half = kAtOnce / 2; half > 0; half /= 2)
    for (int j = 0; j < half; ++j) best[j] = better(best[j + half], best[j]);
  return tree_of_register(best[0].r, [](auto v, auto w) { return minimum ? (v < w ? v : w) : (v > w ? v : w); });
}

// The first i with x[i] == value, or the first NaN.
template <class T, bool nan>
static int64_t first_equal(const T* x, int64_t n, T value) {
  constexpr int64_t width = Vec<T>::width;
  const Vec<T> wanted = Vec<T>::broadcast(value);
  const auto hits = [&](int64_t at) {
    const Vec<T> v = Vec<T>::load(x + at);
    return nan ? unordered(v, v) : v == wanted;
  };
  int64_t i = 0;
  for (; i + 4 * width <= n; i += 4 * width) {
    const Mask<T> hit[4] = {hits(i), hits(i + width), hits(i + 2 * width), hits(i + 3 * width)};
    if (!any(mask_or(mask_or(hit[0], hit[1]), mask_or(hit[2], hit[3])))) continue;
    uint64_t found = 0;
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) found |= uint64_t(which(hit[j])) << j * width;
    return i + __builtin_ctzll(found);
  }
  while (nan ? x[i] == x[i] : x[i] != value) ++i;
  return i;
}

template <class T>
static void extreme_rows(const Extreme& a, int64_t begin, int64_t end) {
  for (int64_t item = begin; item < end; ++item) {
    const int64_t start = item % a.parts * a.part_size(), n = smaller(a.part_size(), a.n - start);
    const T* x = static_cast<const T*>(a.x) + item / a.parts * a.n + start;
    bool has_nan;
    const T value = a.minimum ? extreme_value<T, true>(x, n, has_nan) : extreme_value<T, false>(x, n, has_nan);
    a.index[item] = has_nan ? first_equal<T, true>(x, n, value) : first_equal<T, false>(x, n, value);
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
