// linear's backward before its matrix products, in one pass over dout: vector code for one instruction set. Formulas
// and order are those of linear_ref.cpp.
#include "pyformer/base/vec.h"
#include "pyformer/ops/activation/activation_functions.h"
#include "pyformer/ops/linear/linear_kernels.h"

namespace pyformer::PF_ISA {

template <class T, class F>
static void backward_chain(const LinearBackward& g, int64_t chain, int64_t first, int64_t last) {
  constexpr int64_t width = Vec<T>::width;
  const int64_t stop = (chain + 1) * kChainLength < g.rows ? (chain + 1) * kChainLength : g.rows;
  alignas(64) T sum[LinearBackward::kColumns] = {};
  for (int64_t row = chain * kChainLength; row < stop; ++row) {
    const T* dout = static_cast<const T*>(g.dout) + row * g.cols;
    const T* pre = static_cast<const T*>(g.preactivation) + row * g.cols;
    T* dpre = static_cast<T*>(g.dpre) + row * g.cols;
    for (int64_t col = first; col < last; col += width) {
      const int64_t n = last - col < width ? last - col : width;
      Vec<T> d = n == width ? Vec<T>::load(dout + col) : Vec<T>::load_partial(dout + col, n);
      if constexpr (F::id != Activation::none) {
        const Vec<T> x = n == width ? Vec<T>::load(pre + col) : Vec<T>::load_partial(pre + col, n);
        d = times_slope(d, F::derivative(x));
        if (n == width)
          d.store(dpre + col);
        else
          d.store_partial(dpre + col, n);
      }
      (Vec<T>::load(sum + col - first) + d).store(sum + col - first);
    }
  }
  if (!g.dbias) return;
  T* dbias = static_cast<T*>(g.dbias) + chain * g.cols;
  for (int64_t col = first; col < last; ++col) dbias[col] = sum[col - first];
}

template <class T>
static void backward(const LinearBackward& g, int64_t begin, int64_t end) {
  with_activation(g.activation, [&]<class F>() {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item % g.column_ranges() * g.kColumns;
      const int64_t last = first + g.kColumns < g.cols ? first + g.kColumns : g.cols;
      backward_chain<T, F>(g, item / g.column_ranges(), first, last);
    }
  });
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const LinearTable& KernelsOf<LinearTable, PF_ISA::kIsa>::table() {
  static constexpr LinearTable table = {{{PF_ISA::backward<float>, PF_ISA::backward<double>}}};
  return table;
}
}  // namespace pyformer
