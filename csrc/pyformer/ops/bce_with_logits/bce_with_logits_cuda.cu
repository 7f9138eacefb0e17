// bce_with_logits: bce_with_logits_ref.cpp with a thread for each element.
#include "pyformer/base/math.h"
#include "pyformer/cuda/kernel.h"
#include "pyformer/ops/bce_with_logits/bce_with_logits_kernels.h"

namespace pyformer::cuda {

template <class T>
struct BceElement {
  using Args = BceForward;
  static DEVICE void at(const Args& a, int64_t i) {
    using A = Accumulator<T>;
    const A x = in<T>(a.x)[i], target = in<T>(a.target)[i];
    const A wrong = x > A(0) ? A(1) - target : target;
    static_cast<A*>(a.loss)[i] = fma(wrong == A(0) ? A(0) : abs(x), wrong, softplus(-abs(x)));
  }
};

template <class T>
struct BceGradient {
  using Args = BceBackward;
  static DEVICE void at(const Args& a, int64_t i) {
    using A = Accumulator<T>;
    const A x = in<T>(a.x)[i], d = in<T>(a.dout)[a.dout_each ? i : 0] / A(a.divisor);
    if (a.dx) to<T>(a.dx)[i] = d == A(0) ? A(0) : (sigmoid(x) - in<T>(a.target)[i]) * d;
    if (a.dtarget) to<T>(a.dtarget)[i] = d == A(0) ? A(0) : -x * d;
  }
};

template <>
const BceTable& cuda_table<BceTable>() {
  static constexpr BceTable table = {
      for_each_float<Kernel<BceForward>>([]<class T>() -> Kernel<BceForward> { return each_item<BceElement<T>>; }),
      for_each_float<Kernel<BceBackward>>([]<class T>() -> Kernel<BceBackward> { return each_item<BceGradient<T>>; })};
  return table;
}

}  // namespace pyformer::cuda
