// gather: a thread for each element; for the gradient one for each index over the axes before, which adds in order.
#include "pyformer/cuda/kernel.h"
#include "pyformer/ops/gather/gather_kernels.h"

namespace pyformer::cuda {

// Where the element picked by element i of index lies.
DEVICE int64_t position_of(const GatherPick& a, int64_t i) {
  int64_t rest = i, position = 0;
  for (int d = a.ndim - 1; d >= 0; --d) {
    const Divided here = divided(rest, a.extents[d]);
    position += (d == a.axis ? a.index[i] : here.rest) * a.strides[d];
    rest = here.quotient;
  }
  return position;
}

template <class T>  // unsigned: only sets the width of an element
struct GatherElement {
  using Args = GatherForward;
  static DEVICE void at(const Args& a, int64_t i) {
    static_cast<T*>(a.out)[i] = static_cast<const T*>(a.x)[position_of(a.pick, i)];
  }
};

template <class T>
struct GatherGradient {
  using Args = GatherBackward;
  static DEVICE void at(const Args& a, int64_t o) {
    const int64_t each = a.pick.size / a.outer;
    for (int64_t i = o * each + a.first; i < o * each + a.last; ++i) {
      Accumulator<T>& sum = static_cast<Accumulator<T>*>(a.dx)[position_of(a.pick, i)];
      sum = sum + in<T>(a.dout)[i];
    }
  }
};

template <>
const GatherTable& cuda_table<GatherTable>() {
  static constexpr GatherTable table = {per_item_size<Kernel<GatherForward>>([]<class T>() -> Kernel<GatherForward> {
                                          return each_item<GatherElement<T>>;
                                        }),
                                        for_each_float<Kernel<GatherBackward>>([]<class T>() -> Kernel<GatherBackward> {
                                          return each_item<GatherGradient<T>>;
                                        })};
  return table;
}

}  // namespace pyformer::cuda
