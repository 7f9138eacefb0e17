// linear's backward before its matrix products, plain loops:
//
//   dpre = dout * activation'(preactivation),  dbias[chain] = sum of dpre over 256 consecutive rows, from +0
//
// and the activation with its derivative, element by element.
#include "pyformer/ops/linear/linear_kernels.h"
#include "pyformer/ops/matmul/matmul_epilogue.h"

namespace pyformer::PF_ISA {

template <class T>
static void backward(const LinearBackward& g, int64_t begin, int64_t end) {
  const T* dout = static_cast<const T*>(g.dout);
  const T* pre = static_cast<const T*>(g.preactivation);
  T* dpre = static_cast<T*>(g.dpre);
  T* dbias = static_cast<T*>(g.dbias);
  with_activation(g.activation, [&]<Activation activation>() {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t chain = item / g.column_ranges, first = item % g.column_ranges * g.kColumns;
      const int64_t last = first + g.kColumns < g.cols ? first + g.kColumns : g.cols;
      const int64_t stop = (chain + 1) * kChainLength < g.rows ? (chain + 1) * kChainLength : g.rows;
      for (int64_t col = first; col < last; ++col) {
        T sum = T(0);
        for (int64_t at = chain * kChainLength * g.cols + col; at < stop * g.cols; at += g.cols) {
          T d = dout[at];
          if constexpr (activation != Activation::none) dpre[at] = d = d * activation_derivative<activation>(pre[at]);
          sum = sum + d;
        }
        if (dbias) dbias[chain * g.cols + col] = sum;
      }
    }
  });
}

template <class T>
static void activate(const LinearActivate& g, int64_t begin, int64_t end) {
  T* x = static_cast<T*>(g.x);
  T* out = static_cast<T*>(g.out);
  with_activation(g.activation, [&]<Activation activation>() {
    for (int64_t i = begin; i < end; ++i) {
      const T value = PF_ISA::activate<activation>(x[i]);
      x[i] = activation_derivative<activation>(x[i]);
      out[i] = value;
    }
  });
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const LinearKernels& linear_kernels<PF_ISA::kIsa>() {
  static constexpr LinearKernels kernels = {{PF_ISA::backward<float>, PF_ISA::backward<double>},
                                            {PF_ISA::activate<float>, PF_ISA::activate<double>}};
  return kernels;
}
}  // namespace pyformer
