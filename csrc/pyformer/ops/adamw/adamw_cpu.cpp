// adamw, vector code for one instruction set; element for element the formula of adamw_ref.cpp.
#include "pyformer/ops/adamw/adamw_kernels.h"

#include "pyformer/base/bfloat16_vec.h"
#include "pyformer/base/element.h"

namespace pyformer::PF_ISA {

template <class T>
struct AdamWConstants {
  Vec<T> decay, blend1, beta2, blend2, correction, eps, minus_step_size;
};

template <class T>
static PF_INLINE Vec<T> squarable(Vec<T> grad) {
  const Vec<T> most = Vec<T>::broadcast(kLargestSquared<T>), least = Vec<T>::broadcast(-kLargestSquared<T>);
  const auto is_finite = grad - grad == Vec<T>::zero();
  return select(is_finite, max(min(grad, most), least), grad);
}

// stepped_from of element.h: the master, unless the parameter was written to since it was rounded into it.
static PF_INLINE Vec<float> stepped_from(Vec<float> master, Vec<float> param) {
  return select(rounded_to_bfloat16(master) == param, master, param);
}

template <class T>
static PF_INLINE void update(const AdamWConstants<T>& c, Vec<T> given, Vec<T>& param, Vec<T>& m, Vec<T>& v) {
  const Vec<T> grad = squarable(given);
  m = fma(c.blend1, grad - m, m);
  v = fma(c.blend2 * grad, grad, c.beta2 * v);
  param = fma(c.minus_step_size, m / (sqrt(v) / c.correction + c.eps), param * c.decay);
}

// One register of a piece from element i on; all of it, or its first n elements.
template <class T, class... N>
static PF_INLINE void step_register(const AdamWConstants<Accumulator<T>>& c, const AdamWPiece& piece, int64_t i,
                                    N... n) {
  using A = Accumulator<T>;
  T* const param = static_cast<T*>(piece.param) + i;
  A* const master = static_cast<A*>(piece.master) + i;
  A* const exp_avg = static_cast<A*>(piece.exp_avg) + i;
  A* const exp_avg_sq = static_cast<A*>(piece.exp_avg_sq) + i;
  Vec<A> p = load_widened(master, n...), m = load_widened(exp_avg, n...), v = load_widened(exp_avg_sq, n...);
  if constexpr (sizeof(T) == 2) p = stepped_from(p, load_widened(param, n...));
  update(c, load_widened(static_cast<const A*>(piece.grad) + i, n...), p, m, v);
  store_rounded(p, master, n...);
  if constexpr (sizeof(T) == 2) store_rounded(p, param, n...);
  store_rounded(m, exp_avg, n...);
  store_rounded(v, exp_avg_sq, n...);
}

template <class T>
static void step(const AdamWStep& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  using V = Vec<A>;
  const AdamWConstants<A> c = {V::broadcast(A(a.decay)),     V::broadcast(A(a.blend1)),     V::broadcast(A(a.beta2)),
                               V::broadcast(A(a.blend2)),    V::broadcast(A(a.correction)), V::broadcast(A(a.eps)),
                               V::broadcast(A(-a.step_size))};
  for (int64_t item = begin; item < end; ++item) {
    const AdamWPiece& piece = a.pieces[item];
    int64_t i = 0;
    for (; i + V::width <= piece.count; i += V::width) step_register<T>(c, piece, i);
    if (i < piece.count) step_register<T>(c, piece, i, piece.count - i);
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const AdamWTable& KernelsOf<AdamWTable, PF_ISA::kIsa>::table() {
  static constexpr AdamWTable table = {{{PF_ISA::step<float>, PF_ISA::step<double>, PF_ISA::step<BFloat16>}}};
  return table;
}
}  // namespace pyformer
