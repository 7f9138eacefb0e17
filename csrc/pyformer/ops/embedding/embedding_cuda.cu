// embedding: a thread for each element of out; for the gradient a thread for each column, which walks the ids in order.
#include "pyformer/cuda/kernel.h"
#include "pyformer/ops/embedding/embedding_kernels.h"

namespace pyformer::cuda {

template <class T>  // unsigned: only sets the width of an element
struct EmbeddingElement {
  using Args = EmbeddingForward;
  static DEVICE void at(const Args& a, int64_t i) {
    const Divided d = divided(i, a.cols);
    static_cast<T*>(a.out)[i] = static_cast<const T*>(a.weight)[a.ids[d.quotient] * a.cols + d.rest];
  }
};
template <class T>
static void embedding_forward(const EmbeddingForward& a, int64_t, int64_t) {
  start_items<EmbeddingElement<T>>(a, a.ids_count * a.cols);
}

template <class T>
struct EmbeddingColumn {
  using Args = EmbeddingBackward;
  static DEVICE void at(const Args& a, int64_t c) {
    for (int64_t i = 0; i < a.ids_count; ++i) {
      Accumulator<T>& sum = static_cast<Accumulator<T>*>(a.dweight)[a.ids[i] * a.cols + c];
      sum = sum + in<T>(a.dout)[i * a.cols + c];
    }
  }
};
template <class T>
static void embedding_backward(const EmbeddingBackward& a, int64_t, int64_t) {
  start_items<EmbeddingColumn<T>>(a, a.cols);
}

template <>
const EmbeddingTable& cuda_table<EmbeddingTable>() {
  static constexpr EmbeddingTable table = {
      per_item_size<Kernel<EmbeddingForward>>(
          []<class T>() -> Kernel<EmbeddingForward> { return embedding_forward<T>; }),
      for_each_float<Kernel<EmbeddingBackward>>(
          []<class T>() -> Kernel<EmbeddingBackward> { return embedding_backward<T>; })};
  return table;
}

}  // namespace pyformer::cuda
