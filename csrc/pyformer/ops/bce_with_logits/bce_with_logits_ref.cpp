// bce_with_logits, plain loops over the formulas of bce_with_logits.h; each gradient is multiplied by dout / divisor, 0
// where that is 0.
#include "pyformer/ops/bce_with_logits/bce_with_logits_kernels.h"

#include "pyformer/base/element.h"
#include "pyformer/base/math.h"

namespace pyformer::PF_ISA {

template <class T>
static void forward(const BceForward& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const auto xs = in<T>(a.x), targets = in<T>(a.target);
  for (int64_t i = begin; i < end; ++i) {
    const A x = xs[i], target = targets[i];
    const A wrong = x > A(0) ? A(1) - target : target;
    static_cast<A*>(a.loss)[i] = fma(wrong == A(0) ? A(0) : abs(x), wrong, softplus(-abs(x)));
  }
}

template <class T>
static void backward(const BceBackward& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const auto xs = in<T>(a.x), targets = in<T>(a.target), dout = in<T>(a.dout);
  const auto dx = to<T>(a.dx), dtarget = to<T>(a.dtarget);
  for (int64_t i = begin; i < end; ++i) {
    const A x = xs[i], d = dout[a.dout_each ? i : 0] / A(a.divisor);
    if (dx) dx[i] = d == A(0) ? A(0) : (sigmoid(x) - targets[i]) * d;
    if (dtarget) dtarget[i] = d == A(0) ? A(0) : -x * d;
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const BceTable& KernelsOf<BceTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr BceTable table = {
      for_each_float<Kernel<BceForward>>([]<class T>() -> Kernel<BceForward> { return forward<T>; }),
      for_each_float<Kernel<BceBackward>>([]<class T>() -> Kernel<BceBackward> { return backward<T>; })};
  return table;
}
}  // namespace pyformer
