// linear_cross_entropy's own loops: sums of dlogits over rows, and gradients times the loss's.
#include "pyformer/ops/linear_cross_entropy/linear_cross_entropy_kernels.h"

#include "pyformer/base/element.h"

namespace pyformer::PF_ISA {

template <class T>
static void add_column_chains(const AddColumnChains& a, int64_t begin, int64_t end) {
  constexpr int64_t kColumns = AddColumnChains::kColumns;
  const T* x = static_cast<const T*>(a.x);
  for (int64_t item = begin; item < end; ++item) {
    const int64_t first = item * kColumns, count = a.cols - first < kColumns ? a.cols - first : kColumns;
    T* sum = static_cast<T*>(a.sum) + first;
    for (int64_t start = 0; start < a.rows; start += kChainLength) {
      const int64_t stop = a.rows < start + kChainLength ? a.rows : start + kChainLength;
      T chain[kColumns] = {};
      for (int64_t r = start; r < stop; ++r)
        for (int64_t c = 0; c < count; ++c) chain[c] = chain[c] + x[r * a.cols + first + c];
      for (int64_t c = 0; c < count; ++c) sum[c] = sum[c] + chain[c];
    }
  }
}

template <class T>
static void scale(const ScaleGradient& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const A divisor = A(a.unit) * A(a.counted && *a.counted > 1 ? *a.counted : 1);
  const A factor = *static_cast<const A*>(a.factor) / divisor;
  if (factor == A(1)) return;
  const auto x = to<T>(a.x);
  for (int64_t i = begin; i < end; ++i) x[i] = factor == A(0) ? A(0) : x[i] * factor;
}

template <class A>
static bool is_finite(A x) {
  return x - x == A(0);
}

template <class T>
static void find_ignored(const FindIgnored& a, int64_t begin, int64_t end) {
  const auto x = in<T>(a.x);
  for (int64_t row = begin; row < end; ++row) {
    if (a.targets[row] != a.ignored) continue;
    bool finite = true;
    for (int64_t i = row * a.cols; i < (row + 1) * a.cols; ++i) finite &= is_finite<Accumulator<T>>(x[i]);
    if (!finite) __atomic_store_n(a.found, int64_t(1), __ATOMIC_RELAXED);
  }
}

template <class T>
static void clear_ignored(const ClearIgnored& a, int64_t begin, int64_t end) {
  const T* x = static_cast<const T*>(a.x);
  const auto wide = in<T>(a.x);
  for (int64_t row = begin; row < end; ++row)
    for (int64_t i = row * a.cols; i < (row + 1) * a.cols; ++i)
      static_cast<T*>(a.out)[i] = a.targets[row] == a.ignored && !is_finite<Accumulator<T>>(wide[i]) ? T{} : x[i];
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const LinearCrossEntropyTable& KernelsOf<LinearCrossEntropyTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr LinearCrossEntropyTable table = {
      {{add_column_chains<float>, add_column_chains<double>}},
      for_each_float<Kernel<ScaleGradient>>([]<class T>() -> Kernel<ScaleGradient> { return scale<T>; }),
      for_each_float<Kernel<FindIgnored>>([]<class T>() -> Kernel<FindIgnored> { return find_ignored<T>; }),
      for_each_float<Kernel<ClearIgnored>>([]<class T>() -> Kernel<ClearIgnored> { return clear_ignored<T>; })};
  return table;
}
}  // namespace pyformer
