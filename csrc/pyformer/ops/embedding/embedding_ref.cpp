// embedding, plain loops: rows are copied; gradients are added in the order of the ids.
#include "pyformer/ops/embedding/embedding_kernels.h"

#include <cstring>

#include "pyformer/base/element.h"

namespace pyformer::PF_ISA {

template <class T>
static void forward(const EmbeddingForward& a, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i)
    std::memcpy(static_cast<T*>(a.out) + i * a.cols, static_cast<const T*>(a.weight) + a.ids[i] * a.cols,
                size_t(a.cols) * sizeof(T));
}

template <class T>
static void backward(const EmbeddingBackward& a, int64_t begin, int64_t end) {
  const int64_t first = begin * a.kColumns, last = end * a.kColumns < a.cols ? end * a.kColumns : a.cols;
  for (int64_t i = 0; i < a.ids_count; ++i) {
    const auto sum = static_cast<Accumulator<T>*>(a.dweight) + a.ids[i] * a.cols;
    const auto dout = in<T>(a.dout) + i * a.cols;
    for (int64_t c = first; c < last; ++c) sum[c] = sum[c] + dout[c];
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const EmbeddingTable& KernelsOf<EmbeddingTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr EmbeddingTable table = {
      per_item_size<Kernel<EmbeddingForward>>([]<class T>() -> Kernel<EmbeddingForward> { return forward<T>; }),
      for_each_float<Kernel<EmbeddingBackward>>([]<class T>() -> Kernel<EmbeddingBackward> { return backward<T>; })};
  return table;
}
}  // namespace pyformer
