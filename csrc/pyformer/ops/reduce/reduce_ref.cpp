// reduce, plain loops: sums in the order that reduce.h promises, the first extreme of a row.
#include "pyformer/base/reduce.h"

#include "pyformer/ops/reduce/reduce_columns.h"

namespace pyformer::PF_ISA {

template <class T>
static void sum_tree(const SumTree& a, int64_t begin, int64_t end) {
  for (int64_t item = begin; item < end; ++item) {
    const int64_t outer = item / a.inner, c = item % a.inner;
    BlockTree<T> tree;
    for (int64_t i = 0; i < a.blocks; ++i)
      tree.add(static_cast<const T*>(a.sums)[(outer * a.blocks + i) * a.inner + c]);
    static_cast<T*>(a.out)[item] = tree.total() / T(a.divisor);
  }
}

template <class T>
static void sum_integers(const SumIntegers& a, int64_t begin, int64_t end) {
  const T* x = static_cast<const T*>(a.x);
  for (int64_t outer = begin; outer < end; ++outer) {
    uint64_t* sum = a.out + outer * a.inner;
    for (int64_t c = 0; c < a.inner; ++c) sum[c] = 0;
    for (int64_t i = 0; i < a.n; ++i)
      for (int64_t c = 0; c < a.inner; ++c) sum[c] += uint64_t(int64_t(x[(outer * a.n + i) * a.inner + c]));
  }
}

// The index of the extreme of x(0) ... x(n - 1).
template <class T, class X>
static int64_t extreme_index(int64_t n, bool minimum, const X& x) {
  int64_t best = 0;
  for (int64_t i = 1; i < n; ++i)
    if (minimum ? wins<T, true>(x[i], x[best]) : wins<T, false>(x[i], x[best])) best = i;
  return best;
}

template <class T>
static void extreme_rows(const Extreme& a, int64_t begin, int64_t end) {
  for (int64_t item = begin; item < end; ++item) {
    const int64_t start = item % a.parts * a.part_size(), n = smaller(a.part_size(), a.n - start);
    const auto x = in<T>(a.x) + item / a.parts * a.n + start;
    a.index[item] = extreme_index<Accumulator<T>>(n, a.minimum, x);
    to<T>(a.out)[item] = x[a.index[item]];
  }
}

template <class T>
static void extreme_of_parts(const ExtremeOfParts& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const auto values = in<T>(a.values) + row * a.parts;
    const int64_t best = extreme_index<Accumulator<T>>(a.parts, a.minimum, values);
    to<T>(a.out)[row] = values[best];
    a.index[row] = best * Extreme::kPart + a.part_index[row * a.parts + best];
  }
}

template <class T>
static void spread(const Spread& a, int64_t begin, int64_t end) {
  const auto dout = in<T>(a.dout);
  const auto dx = to<T>(a.dx);
  for (int64_t row = begin; row < end; ++row)
    for (int64_t c = 0; c < a.inner; ++c)
      dx[row * a.inner + c] = dout[row / a.n * a.inner + c] / Accumulator<T>(a.divisor);
}

// T, unsigned, only sets the width of an element.
template <class T>
static void scatter(const Scatter& a, int64_t begin, int64_t end) {
  for (int64_t item = begin; item < end; ++item)
    static_cast<T*>(a.dx)[(item / a.inner * a.n + a.index[item]) * a.inner + item % a.inner] =
        static_cast<const T*>(a.dout)[item];
}

template <class Sum>
static void running_bases(const RunningBases& a, int64_t begin, int64_t end) {
  for (int64_t item = begin; item < end; ++item) {
    Sum* bases = static_cast<Sum*>(a.bases) + item / a.inner * a.chains * a.inner + item % a.inner;
    BlockTree<Sum> tree;
    for (int64_t i = 0; i < a.chains; ++i) {
      Sum& base = bases[(a.reverse ? a.chains - 1 - i : i) * a.inner];
      const Sum total = base;
      base = i ? tree.total() : Sum(0);
      tree.add(total);
    }
  }
}

template <class Args, class Get>
static constexpr PerDtype<Kernel<Args>> with_integers(PerDtype<Kernel<Args>> row, const Get& get) {
  row.entries[int(DType::int64)] = get.template operator()<int64_t>();
  row.entries[int(DType::int32)] = get.template operator()<int32_t>();
  row.entries[int(DType::boolean)] = get.template operator()<bool>();
  row.entries[int(DType::int8)] = get.template operator()<int8_t>();
  row.entries[int(DType::uint8)] = get.template operator()<uint8_t>();
  return row;
}
template <bool wanted>
static constexpr PerDtype<Kernel<RunningSums>> running() {
  return with_integers<RunningSums>(for_each_float<Kernel<RunningSums>>([]<class T>() -> Kernel<RunningSums> {
                                      return run_chains<wanted, T, Accumulator<T>>;
                                    }),
                                    []<class T>() -> Kernel<RunningSums> { return run_chains<wanted, T, uint64_t>; });
}
// The same loops for all dtypes.
template <class Args, class Get>
static constexpr PerDtype<Kernel<Args>> for_all(const Get& get) {
  return with_integers<Args>(for_each_float<Kernel<Args>>(get), get);
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const ReduceTable& KernelsOf<ReduceTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr ReduceTable table = {
      .sum_blocks =
          for_each_float<Kernel<SumBlocks>>([]<class T>() -> Kernel<SumBlocks> { return sum_column_blocks<T>; }),
      .sum_tree = {{sum_tree<float>, sum_tree<double>}},
      .sum_integers = with_integers<SumIntegers>({}, []<class T>() -> Kernel<SumIntegers> { return sum_integers<T>; }),
      .extreme_rows = for_all<Extreme>([]<class T>() -> Kernel<Extreme> { return extreme_rows<T>; }),
      .extreme_columns = for_all<Extreme>([]<class T>() -> Kernel<Extreme> { return extreme_columns<T>; }),
      .extreme_of_parts =
          for_all<ExtremeOfParts>([]<class T>() -> Kernel<ExtremeOfParts> { return extreme_of_parts<T>; }),
      .spread = for_each_float<Kernel<Spread>>([]<class T>() -> Kernel<Spread> { return spread<T>; }),
      .scatter = per_item_size<Kernel<Scatter>>([]<class T>() -> Kernel<Scatter> { return scatter<T>; }),
      .running_totals = running<false>(),
      .running_sums = running<true>(),
      .running_bases = {{running_bases<float>, running_bases<double>, nullptr, nullptr, running_bases<uint64_t>}}};
  return table;
}
}  // namespace pyformer
