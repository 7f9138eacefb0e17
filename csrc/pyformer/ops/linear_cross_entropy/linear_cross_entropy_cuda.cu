// linear_cross_entropy's own loops: a thread for each column, or each element.
#include "pyformer/cuda/kernel.h"
#include "pyformer/ops/linear_cross_entropy/linear_cross_entropy_kernels.h"

namespace pyformer::cuda {

struct AddColumn {
  using Args = AddColumnChains;
  static DEVICE void at(const Args& a, int64_t c) {
    const float* x = static_cast<const float*>(a.x);
    float sum = static_cast<float*>(a.sum)[c];
    for (int64_t start = 0; start < a.rows; start += kChainLength) {
      float chain = 0;
      for (int64_t r = start; r < a.rows && r < start + kChainLength; ++r) chain = chain + x[r * a.cols + c];
      sum = sum + chain;
    }
    static_cast<float*>(a.sum)[c] = sum;
  }
};
static void add_columns(const AddColumnChains& a, int64_t, int64_t) { start_items<AddColumn>(a, a.cols); }

template <class T>
struct ScaleElement {
  using Args = ScaleGradient;
  static DEVICE void at(const Args& a, int64_t i) {
    const float factor = *static_cast<const float*>(a.factor);
    if (factor == 1.0f) return;
    const auto x = to<T>(a.x);
    x[i] = factor == 0.0f ? 0.0f : x[i] * factor;
  }
};

DEVICE bool is_finite(float x) { return x - x == 0.0f; }

template <class T>
struct ClearElement {
  using Args = ClearIgnored;
  static DEVICE void at(const Args& a, int64_t i) {
    const bool clear = a.targets[divided(i, a.cols).quotient] == a.ignored && !is_finite(in<T>(a.x)[i]);
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
      .add_column_chains = {{add_columns}},
      .scale = for_cuda_floats<Kernel<ScaleGradient>>(
          []<class T>() -> Kernel<ScaleGradient> { return each_item<ScaleElement<T>>; }),
      .find_ignored = {},  // of the CPU only
      .clear_ignored =
          for_cuda_floats<Kernel<ClearIgnored>>([]<class T>() -> Kernel<ClearIgnored> { return clear_ignored<T>; })};
  return table;
}

}  // namespace pyformer::cuda
