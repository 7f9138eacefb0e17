// sgd, plain loops: the formula of sgd.h, products and sums rounded each.
#include "pyformer/ops/sgd/sgd_kernels.h"

#include "pyformer/base/element.h"

namespace pyformer::PF_ISA {

// master[i] = value(i, what it was), rounded into param, which may be the same array.
template <class T, class Value>
static PF_INLINE void write(const SgdPiece& piece, const Value& value) {
  using A = Accumulator<T>;
  A* master = static_cast<A*>(piece.master);
  T* param = static_cast<T*>(piece.param);
  for (int64_t i = 0; i < piece.count; ++i) {
    const A stepped = value(i, stepped_from(master[i], param[i]));
    master[i] = stepped;
    param[i] = rounded<T>(stepped);
  }
}

template <class T>
static void step(const SgdStep& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const A lr = A(a.lr), momentum = A(a.momentum), weight_decay = A(a.weight_decay);
  for (int64_t item = begin; item < end; ++item) {
    const SgdPiece& piece = a.pieces[item];
    const A* grad = static_cast<const A*>(piece.grad);
    A* buffer = static_cast<A*>(piece.buffer);
    if (!buffer) {
      write<T>(piece, [&](int64_t i, A w) { return w - lr * (grad[i] + weight_decay * w); });
      continue;
    }
    write<T>(piece, [&](int64_t i, A w) {
      const A g = grad[i] + weight_decay * w;
      buffer[i] = momentum * buffer[i] + g;
      return w - lr * (a.nesterov ? g + momentum * buffer[i] : buffer[i]);
    });
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const SgdTable& KernelsOf<SgdTable, PF_ISA::kIsa>::table() {
  static constexpr SgdTable table = {
      for_each_float<Kernel<SgdStep>>([]<class T>() -> Kernel<SgdStep> { return PF_ISA::step<T>; })};
  return table;
}
}  // namespace pyformer
