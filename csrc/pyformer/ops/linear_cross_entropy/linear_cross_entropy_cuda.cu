// linear_cross_entropy's own loops: a thread for each column, or each element.
#include "pyformer/cuda/kernel.h"
#include "pyformer/ops/linear_cross_entropy/linear_cross_entropy_kernels.h"

namespace pyformer::cuda {

template <class A>
struct AddColumn {
  using Args = AddColumnChains;
  static DEVICE void at(const Args& a, int64_t c) {
    const A* x = static_cast<const A*>(a.x);
    A sum = static_cast<A*>(a.sum)[c];
    for (int64_t start = 0; start < a.rows; start += kChainLength) {
      A chain = 0;
      for (int64_t r = start; r < a.rows && r < start + kChainLength; ++r) chain = chain + x[r * a.cols + c];
      sum = sum + chain;
    }
    static_cast<A*>(a.sum)[c] = sum;
  }
};
template <class A>
static void add_columns(const AddColumnChains& a, int64_t, int64_t) {
  start_items<AddColumn<A>>(a, a.cols);
}

template <class T>
struct ScaleElement {
  using Args = ScaleGradient;
  static DEVICE void at(const Args& a, int64_t i) {
    using A = Accumulator<T>;
    const A divisor = A(a.unit) * A(a.counted && *a.counted > 1 ? *a.counted : 1);
    const A factor = *static_cast<const A*>(a.factor) / divisor;
    if (factor == A(1)) return;
    const auto x = to<T>(a.x);
    x[i] = factor == A(0) ? A(0) : x[i] * factor;
  }
};

template <class A>
DEVICE bool is_finite(A x) {
  return x - x == A(0);
}

template <class T>
struct ClearElement {
  using Args = ClearIgnored;
  static DEVICE void at(const Args& a, int64_t i) {
    const bool clear = a.targets[divided(i, a.cols).quotient] == a.ignored && !is_finite(Accumulator<T>(in<T>(a.x)[i]));
    static_cast<T*>(a.out)[i] = clear ? T{} : static_cast<const T*>(a.x)[i];
  }
};
template <class T>
static void clear_ignored(const ClearIgnored& a, int64_t, int64_t) {
  start_items<ClearElement<T>>(a, a.rows * a.cols);
}

template <>
const LinearCrossEntropyTable& cuda_table<LinearCrossEntropyTable>() {
  static constexpr LinearCrossEntropyTable table = {
      .add_column_chains = {{add_columns<float>, add_columns<double>}},
      .scale = for_each_float<Kernel<ScaleGradient>>(
          []<class T>() -> Kernel<ScaleGradient> { return each_item<ScaleElement<T>>; }),
      .find_ignored = {},  // of the CPU only
      .clear_ignored =
          for_each_float<Kernel<ClearIgnored>>([]<class T>() -> Kernel<ClearIgnored> { return clear_ignored<T>; })};
  return table;
}

}  // namespace pyformer::cuda
