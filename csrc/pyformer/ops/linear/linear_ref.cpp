// linear's backward before its matrix products, plain loops:
//
//   dpre = dout * activation'(preactivation),  dbias[chain] = sum of dpre over 256 consecutive rows, from +0
#include "pyformer/base/element.h"
#include "pyformer/ops/activation/activation_functions.h"
#include "pyformer/ops/linear/linear_kernels.h"

namespace pyformer::PF_ISA {

template <class T>
static void backward(const LinearBackward& g, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const auto dout = in<T>(g.dout), pre = in<T>(g.preactivation);
  const auto dpre = to<T>(g.dpre);
  A* dbias = static_cast<A*>(g.dbias);
  with_activation(g.activation, [&]<class F>() {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t chain = item / g.column_ranges(), first = item % g.column_ranges() * g.kColumns;
      const int64_t last = first + g.kColumns < g.cols ? first + g.kColumns : g.cols;
      const int64_t stop = (chain + 1) * kChainLength < g.rows ? (chain + 1) * kChainLength : g.rows;
      for (int64_t col = first; col < last; ++col) {
        A sum = A(0);
        for (int64_t at = chain * kChainLength * g.cols + col; at < stop * g.cols; at += g.cols) {
          A d = dout[at];
          if constexpr (F::id != Activation::none) dpre[at] = d = times_slope(d, F::derivative(A(pre[at])));
          sum = sum + d;
        }
        if (dbias) dbias[chain * g.cols + col] = sum;
      }
    }
  });
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const LinearTable& KernelsOf<LinearTable, PF_ISA::kIsa>::table() {
  static constexpr LinearTable table = {
      for_each_float<Kernel<LinearBackward>>([]<class T>() -> Kernel<LinearBackward> { return PF_ISA::backward<T>; })};
  return table;
}
}  // namespace pyformer
