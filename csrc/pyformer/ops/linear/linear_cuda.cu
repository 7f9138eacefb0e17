// linear's backward before its products: linear_ref.cpp with a thread for each chain of rows and column.
#include "pyformer/cuda/kernel.h"
#include "pyformer/ops/activation/activation_functions.h"
#include "pyformer/ops/linear/linear_kernels.h"

namespace pyformer::cuda {

template <class T>
struct LinearColumn {
  using Args = LinearBackward;
  static DEVICE void at(const Args& g, int64_t item) {
    using A = Accumulator<T>;
    const int64_t chain = item / g.cols, col = item % g.cols;
    const int64_t stop = (chain + 1) * kChainLength < g.rows ? (chain + 1) * kChainLength : g.rows;
    with_activation(g.activation, [&]<class F>() {
      A sum = 0;
      for (int64_t at = chain * kChainLength * g.cols + col; at < stop * g.cols; at += g.cols) {
        A d = in<T>(g.dout)[at];
        if constexpr (F::id != Activation::none)
          to<T>(g.dpre)[at] = d = times_slope(d, F::derivative(A(in<T>(g.preactivation)[at])));
        sum = sum + d;
      }
      if (g.dbias) static_cast<A*>(g.dbias)[item] = sum;
    });
  }
};
template <class T>
static void linear_backward(const LinearBackward& g, int64_t, int64_t) {
  start_items<LinearColumn<T>>(g, g.chains() * g.cols);
}

template <>
const LinearTable& cuda_table<LinearTable>() {
  static constexpr LinearTable table = {
      for_each_float<Kernel<LinearBackward>>([]<class T>() -> Kernel<LinearBackward> { return linear_backward<T>; })};
  return table;
}

}  // namespace pyformer::cuda
