// bce_with_logits: bce_with_logits_ref.cpp with a thread for each element.
#include "pyformer/base/math.h"
#include "pyformer/cuda/kernel.h"
#include "pyformer/ops/bce_with_logits/bce_with_logits_kernels.h"

namespace pyformer::cuda {

template <class T>
struct BceElement {
  using Args = BceForward;
  static DEVICE void at(const Args& a, int64_t i) {
    const float x = in<T>(a.x)[i], target = in<T>(a.target)[i];
    const float wrong = x > 0.0f ? 1.0f - target : target;
    static_cast<float*>(a.loss)[i] = fma(wrong == 0.0f ? 0.0f : abs(x), wrong, softplus(-abs(x)));
  }
};

template <class T>
struct BceGradient {
  using Args = BceBackward;
  static DEVICE void at(const Args& a, int64_t i) {
    const float x = in<T>(a.x)[i], d = in<T>(a.dout)[a.dout_each ? i : 0] / float(a.divisor);
    if (a.dx) to<T>(a.dx)[i] = d == 0.0f ? 0.0f : (sigmoid(x) - in<T>(a.target)[i]) * d;
    if (a.dtarget) to<T>(a.dtarget)[i] = d == 0.0f ? 0.0f : -x * d;
  }
};

template <>
const BceTable& cuda_table<BceTable>() {
  static constexpr BceTable table = {
      for_cuda_floats<Kernel<BceForward>>([]<class T>() -> Kernel<BceForward> { return each_item<BceElement<T>>; }),
      for_cuda_floats<Kernel<BceBackward>>([]<class T>() -> Kernel<BceBackward> { return each_item<BceGradient<T>>; })};
  return table;
}

}  // namespace pyformer::cuda
