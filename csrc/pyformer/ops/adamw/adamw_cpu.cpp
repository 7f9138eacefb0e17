// adamw, vector code for one instruction set; element for element the formula of adamw_ref.cpp.
#include "pyformer/ops/adamw/adamw_kernels.h"

#include "pyformer/base/reduce.h"

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

template <class T>
static PF_INLINE void update(const AdamWConstants<T>& c, Vec<T> given, Vec<T>& param, Vec<T>& m, Vec<T>& v) {
  const Vec<T> grad = squarable(given);
  m = fma(c.blend1, grad - m, m);
  v = fma(c.blend2 * grad, grad, c.beta2 * v);
  param = fma(c.minus_step_size, m / (sqrt(v) / c.correction + c.eps), param * c.decay);
}

template <class T>
static void step(const AdamWStep& a, int64_t begin, int64_t end) {
  using V = Vec<T>;
  const AdamWConstants<T> c = {V::broadcast(T(a.decay)),     V::broadcast(T(a.blend1)),     V::broadcast(T(a.beta2)),
                               V::broadcast(T(a.blend2)),    V::broadcast(T(a.correction)), V::broadcast(T(a.eps)),
                               V::broadcast(T(-a.step_size))};
  for (int64_t item = begin; item < end; ++item) {
    const AdamWPiece& piece = a.pieces[item];
    const T* grad = static_cast<const T*>(piece.grad);
    T* param = static_cast<T*>(piece.param);
    T* exp_avg = static_cast<T*>(piece.exp_avg);
    T* exp_avg_sq = static_cast<T*>(piece.exp_avg_sq);
    int64_t i = 0;
    for (; i + V::width <= piece.count; i += V::width) {
      V p = V::load(param + i), m = V::load(exp_avg + i), v = V::load(exp_avg_sq + i);
      update(c, V::load(grad + i), p, m, v);
      p.store(param + i);
      m.store(exp_avg + i);
      v.store(exp_avg_sq + i);
    }
    if (const int64_t n = piece.count - i) {
      V p = V::load_partial(param + i, n), m = V::load_partial(exp_avg + i, n), v = V::load_partial(exp_avg_sq + i, n);
      update(c, V::load_partial(grad + i, n), p, m, v);
      p.store_partial(param + i, n);
      m.store_partial(exp_avg + i, n);
      v.store_partial(exp_avg_sq + i, n);
    }
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const AdamWTable& KernelsOf<AdamWTable, PF_ISA::kIsa>::table() {
  static constexpr AdamWTable table = {{{PF_ISA::step<float>, PF_ISA::step<double>}}};
  return table;
}
}  // namespace pyformer
