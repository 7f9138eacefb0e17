// group_norm and batch_norm, plain loops over planes. What they define, with xhat = (x - mean) * rstd as in
// norm_ref.cpp and g = dout * weight:
//
//   out = xhat * weight + bias,  dx = rstd * (g - mean_g - xhat * mean_gx),  or rstd * g where mean and rstd are given
//
// Sums over a plane are taken in the order of the row-reduction rule (reduce.h).
#include "pyformer/ops/norm_planes/norm_planes_sets.h"

namespace pyformer::PF_ISA::norm_planes {

struct Loops {
  template <class T, class A>
  static A sum(const Planes<T>& a, A scale, A origin) {
    BlockTree<A> tree;
    for (int64_t p = 0; p < a.planes; ++p) {
      const auto x = a.x + p * a.stride;
      tree.add(row_sum<A>(a.size, [&](int64_t i) { return fma(A(x[i]), scale, -origin); }));
    }
    return tree.total();
  }

  template <class T, class A>
  static void sums_of_centred(const Planes<T>& a, A scale, A mean, A (&sums)[2]) {
    BlockTree<A> sum, square;
    for (int64_t p = 0; p < a.planes; ++p) {
      const auto x = a.x + p * a.stride;
      const auto d = [&](int64_t i) { return fma(A(x[i]), scale, -mean); };
      sum.add(row_sum<A>(a.size, d));
      square.add(row_dot<A>(a.size, d, d));
    }
    sums[0] = sum.total();
    sums[1] = square.total();
  }

  template <class T, class A>
  static A largest(const Planes<T>& a, A origin) {
    A largest = A(0);
    for (int64_t p = 0; p < a.planes; ++p) {
      const auto x = a.x + p * a.stride;
      largest = max(row_largest(a.size, origin, [&](int64_t i) { return A(x[i]); }), largest);
    }
    return largest;
  }

  template <class T>
  static void apply(const Planes<T>& a, typename Access<T>::To to) {
    const Normalizer<Accumulator<T>> xhat(a.row);
    for (int64_t p = 0; p < a.planes; ++p) {
      const auto x = a.x + p * a.stride;
      const auto out = to + p * a.stride;
      for (int64_t i = 0; i < a.size; ++i) out[i] = fma(xhat(x[i]), a.weight_of(p), a.bias_of(p));
    }
  }

  template <class T>
  static void products(const Planes<T>& a, typename Access<T>::In from, Accumulator<T>* sum, Accumulator<T>* product) {
    using A = Accumulator<T>;
    const Normalizer<A> xhat(a.row);
    for (int64_t p = 0; p < a.planes; ++p) {
      const auto x = a.x + p * a.stride, dout = from + p * a.stride;
      const auto d = [&](int64_t i) { return A(dout[i]); };
      sum[p] = row_sum<A>(a.size, d);
      product[p] = row_dot<A>(a.size, d, [&](int64_t i) { return xhat(x[i]); });
    }
  }

  template <class T>
  static void gradient(const Planes<T>& a, typename Access<T>::In from, Accumulator<T> mean_g, Accumulator<T> mean_gx,
                       typename Access<T>::To to) {
    const Normalizer<Accumulator<T>> xhat(a.row);
    for (int64_t p = 0; p < a.planes; ++p) {
      const auto x = a.x + p * a.stride, dout = from + p * a.stride;
      const auto dx = to + p * a.stride;
      for (int64_t i = 0; i < a.size; ++i) dx[i] = xhat.gradient(dout[i] * a.weight_of(p), mean_g, xhat(x[i]), mean_gx);
    }
  }

  template <class T>
  static void constant_gradient(const Planes<T>& a, typename Access<T>::In dout, typename Access<T>::To dx) {
    for (int64_t p = 0; p < a.planes; ++p)
      for (int64_t i = p * a.stride; i < p * a.stride + a.size; ++i)
        dx[i] = (a.row.rstd * (dout[i] * a.weight_of(p))) * a.row.scale;
  }
};

// Beside a large mean, x - mean may overflow: a quarter of it does not.
template <class T>
static void given(const NormGiven& a, int64_t begin, int64_t end) {
  for (int64_t c = begin; c < end; ++c) {
    const T mean = static_cast<const T*>(a.mean)[c], rstd = T(1) / sqrt(static_cast<const T*>(a.var)[c] + T(a.eps));
    const T scale = abs(mean) < T(1) / kLeastSquare<T> ? T(1) : T(0.25);
    static_cast<NormRow<T>*>(a.statistics)[c] = {scale, mean * scale, rstd / scale, T(-0.0)};
  }
}

template <class T>
static void running(const NormRunning& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const A* fresh = static_cast<const A*>(a.fresh);
  const A factor = a.count ? A(double(a.count) / (double(a.count) - 1)) : A(1);
  const auto value = to<T>(a.running);
  for (int64_t c = begin; c < end; ++c) value[c] = A(1 - a.momentum) * value[c] + A(a.momentum) * (fresh[c] * factor);
}

}  // namespace pyformer::PF_ISA::norm_planes

namespace pyformer {
template <>
const NormPlanesTable& KernelsOf<NormPlanesTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA::norm_planes;
  static constexpr NormPlanesTable table = {
      for_each_float<Kernel<NormStatisticsForward>>(
          []<class T>() -> Kernel<NormStatisticsForward> { return statistics<Loops, T>; }),
      for_each_float<Kernel<NormApply>>([]<class T>() -> Kernel<NormApply> { return apply<Loops, T>; }),
      for_each_float<Kernel<NormBackward>>([]<class T>() -> Kernel<NormBackward> { return backward<Loops, T>; }),
      {{given<float>, given<double>}},
      for_each_float<Kernel<NormRunning>>([]<class T>() -> Kernel<NormRunning> { return running<T>; })};
  return table;
}
}  // namespace pyformer
