// reduce, plain loops: sums in the order that reduce.h promises, the first extreme of a row.
#include "pyformer/base/reduce.h"

#include "pyformer/ops/reduce/reduce_columns.h"

namespace pyformer::PF_ISA {

template <class T>
static void sum_blocks(const SumBlocks& a, int64_t begin, int64_t end) {
  for (int64_t item = begin; item < end; ++item) {
    const int64_t row = item / a.blocks, start = item % a.blocks * kReduceBlock;
    const int64_t count = start + kReduceBlock < a.n ? kReduceBlock : a.n - start;
    const T* x = static_cast<const T*>(a.x) + row * a.n + start;
    static_cast<T*>(a.sums)[item] = row_sum<T>(count, [&](int64_t i) { return x[i]; }) / T(a.divisor);
  }
}

template <class T>
static void sum_tree(const SumTree& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    BlockTree<T> tree;
    for (int64_t i = 0; i < a.blocks; ++i) tree.add(static_cast<const T*>(a.sums)[row * a.blocks + i]);
    static_cast<T*>(a.out)[row] = tree.total() / T(a.divisor);
  }
}

template <class T>
static void extreme_rows(const Extreme& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const T* x = static_cast<const T*>(a.x) + row * a.n;
    int64_t best = 0;
    for (int64_t i = 1; i < a.n; ++i)
      if (a.minimum ? wins<T, true>(x[i], x[best]) : wins<T, false>(x[i], x[best])) best = i;
    static_cast<T*>(a.out)[row] = x[best];
    a.index[row] = best;
  }
}

template <class T>
static void spread(const Spread& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row)
    for (int64_t c = 0; c < a.inner; ++c)
      static_cast<T*>(a.dx)[row * a.inner + c] = static_cast<const T*>(a.dout)[row / a.n * a.inner + c] / T(a.divisor);
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const ReduceKernels& reduce_kernels<PF_ISA::kIsa>() {
  using namespace PF_ISA;
  static constexpr ReduceKernels kernels = {
      {sum_blocks<float>, sum_blocks<double>},           {sum_tree<float>, sum_tree<double>},
      {sum_chains<float>, sum_chains<double>},           {extreme_rows<float>, extreme_rows<double>},
      {extreme_columns<float>, extreme_columns<double>}, {spread<float>, spread<double>}};
  return kernels;
}
}  // namespace pyformer
