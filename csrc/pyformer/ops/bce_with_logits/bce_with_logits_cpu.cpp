// bce_with_logits, vector code for one instruction set; values are those of bce_with_logits_ref.cpp.
#include "pyformer/ops/bce_with_logits/bce_with_logits_kernels.h"

#include "pyformer/base/math.h"
#include "pyformer/base/reduce.h"

namespace pyformer::PF_ISA {

template <class T>
static void forward(const BceForward& a, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i += kLanes) {
    const int64_t n = end - i < kLanes ? end - i : kLanes;
    const Lanes<T> x = load_lanes(static_cast<const T*>(a.x) + i, n);
    const Lanes<T> target = load_lanes(static_cast<const T*>(a.target) + i, n);
    const Lanes<T> tail = each([](Vec<T> v) { return softplus(-abs(v)); }, x);
    const Lanes<T> wrong = select(x > Lanes<T>::zero(), Lanes<T>::broadcast(T(1)) - target, target);
    const Lanes<T> distance = select(wrong == Lanes<T>::zero(), Lanes<T>::zero(), abs(x));
    store_lanes(fma(distance, wrong, tail), static_cast<T*>(a.loss) + i, n);
  }
}

template <class T>
static void backward(const BceBackward& a, int64_t begin, int64_t end) {
  const Lanes<T> divisor = Lanes<T>::broadcast(T(a.divisor)), zero = Lanes<T>::zero();
  for (int64_t i = begin; i < end; i += kLanes) {
    const int64_t n = end - i < kLanes ? end - i : kLanes;
    const T* dout = static_cast<const T*>(a.dout);
    const Lanes<T> d = (a.dout_each ? load_lanes(dout + i, n) : Lanes<T>::broadcast(*dout)) / divisor;
    const Lanes<T> x = load_lanes(static_cast<const T*>(a.x) + i, n);
    if (a.dx) {
      const Lanes<T> target = load_lanes(static_cast<const T*>(a.target) + i, n);
      const Lanes<T> p = each([](Vec<T> v) { return sigmoid(v); }, x);
      store_lanes(select(d == zero, zero, (p - target) * d), static_cast<T*>(a.dx) + i, n);
    }
    if (a.dtarget) store_lanes(select(d == zero, zero, -x * d), static_cast<T*>(a.dtarget) + i, n);
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const BceTable& KernelsOf<BceTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr BceTable table = {{{forward<float>, forward<double>}}, {{backward<float>, backward<double>}}};
  return table;
}
}  // namespace pyformer
