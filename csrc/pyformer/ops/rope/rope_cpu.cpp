// rope, vector code for one instruction set. Formulas are those of rope_ref.cpp, term by term. Cosines and sines of a
// token are computed once and serve all its heads.
#include "pyformer/base/math.h"
#include "pyformer/ops/rope/rope_kernels.h"

namespace pyformer::PF_ISA {

template <class T>
static void cosines_and_sines(const Rope& a, int64_t position, T* c, T* s) {
  using V = Vec<double>;
  const V p = V::broadcast(double(position));
  for (int64_t i = 0; i < a.pairs; i += V::width) {
    const int64_t n = a.pairs - i < V::width ? a.pairs - i : V::width;
    const V angle = p * V::load_partial(a.frequencies + i, n);
    double cosine[V::width], sine[V::width];
    const auto turned = sincos(angle);
    turned.cos.store(cosine);
    (a.backward ? -turned.sin : turned.sin).store(sine);
    for (int64_t j = 0; j < n; ++j) c[i + j] = T(cosine[j]), s[i + j] = T(sine[j]);
  }
}

// Pairs (i, i + R).
template <class T>
static void turn_halves(const T* x, const T* c, const T* s, int64_t pairs, T* out) {
  using V = Vec<T>;
  for (int64_t i = 0; i < pairs; i += V::width) {
    const int64_t n = pairs - i < V::width ? pairs - i : V::width;
    if (n == V::width) {
      const V x1 = V::load(x + i), x2 = V::load(x + pairs + i), cosine = V::load(c + i), sine = V::load(s + i);
      fma(x1, cosine, -(x2 * sine)).store(out + i);
      fma(x2, cosine, x1 * sine).store(out + pairs + i);
    } else {
      const V x1 = V::load_partial(x + i, n), x2 = V::load_partial(x + pairs + i, n);
      const V cosine = V::load_partial(c + i, n), sine = V::load_partial(s + i, n);
      fma(x1, cosine, -(x2 * sine)).store_partial(out + i, n);
      fma(x2, cosine, x1 * sine).store_partial(out + pairs + i, n);
    }
  }
}

// Pairs (2 i, 2 i + 1).
template <class T>
static void turn_neighbours(const T* x, const T* c, const T* s, int64_t pairs, T* out) {
  for (int64_t i = 0; i < pairs; ++i) {
    const T x1 = x[2 * i], x2 = x[2 * i + 1];
    out[2 * i] = fma(x1, c[i], -(x2 * s[i]));
    out[2 * i + 1] = fma(x2, c[i], x1 * s[i]);
  }
}

template <class T>
static void turn(const Rope& a, int64_t begin, int64_t end) {
  T* c = static_cast<T*>(a.scratch);
  T* s = c + a.pairs;
  for (int64_t token = begin; token < end; ++token) {
    cosines_and_sines(a, a.positions[token / a.tokens * a.position_batch + token % a.tokens], c, s);
    for (int64_t head = 0; head < a.heads; ++head) {
      const T* x = static_cast<const T*>(a.x) + (token * a.heads + head) * a.head_dim;
      T* out = static_cast<T*>(a.out) + (token * a.heads + head) * a.head_dim;
      a.interleaved ? turn_neighbours(x, c, s, a.pairs, out) : turn_halves(x, c, s, a.pairs, out);
      for (int64_t d = 2 * a.pairs; d < a.head_dim; ++d) out[d] = x[d];
    }
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const RopeTable& KernelsOf<RopeTable, PF_ISA::kIsa>::table() {
  static constexpr RopeTable table = {{{PF_ISA::turn<float>, PF_ISA::turn<double>}}};
  return table;
}
}  // namespace pyformer
