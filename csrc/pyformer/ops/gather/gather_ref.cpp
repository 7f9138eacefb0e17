// gather, plain loops: elements are copied; gradients are added in the order of index.
#include "pyformer/ops/gather/gather_kernels.h"

#include "pyformer/base/element.h"

namespace pyformer::PF_ISA {

// Where the element picked by element i of index lies.
static int64_t position_of(const GatherPick& a, int64_t i) {
  int64_t rest = i, position = 0;
  for (int d = a.ndim - 1; d >= 0; --d) {
    position += (d == a.axis ? a.index[i] : rest % a.extents[d]) * a.strides[d];
    rest /= a.extents[d];
  }
  return position;
}

template <class T>
static void forward(const GatherForward& a, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) static_cast<T*>(a.out)[i] = static_cast<const T*>(a.x)[position_of(a.pick, i)];
}

template <class T>
static void backward(const GatherBackward& a, int64_t begin, int64_t end) {
  const auto dout = in<T>(a.dout);
  const auto dx = static_cast<Accumulator<T>*>(a.dx);
  const int64_t each = a.pick.size / a.outer;
  for (int64_t o = begin; o < end; ++o)
    for (int64_t i = o * each + a.first; i < o * each + a.last; ++i) {
      const int64_t to = position_of(a.pick, i);
      dx[to] = dx[to] + dout[i];
    }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const GatherTable& KernelsOf<GatherTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr GatherTable table = {
      per_item_size<Kernel<GatherForward>>([]<class T>() -> Kernel<GatherForward> { return forward<T>; }),
      for_each_float<Kernel<GatherBackward>>([]<class T>() -> Kernel<GatherBackward> { return backward<T>; })};
  return table;
}
}  // namespace pyformer
