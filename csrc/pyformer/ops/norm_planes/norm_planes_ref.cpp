// group_norm and batch_norm, plain loops over planes. What they define, with xhat = (x - mean) * rstd, g = dout *
// weight:
//
//   out = xhat * weight + bias,  dx = rstd * (g - mean_g - xhat * mean_gx),  or rstd * g where mean and rstd are given
//
// Sums over a plane are taken in the order of the row-reduction rule (reduce.h).
#include "pyformer/base/reduce.h"
#include "pyformer/ops/norm_planes/norm_planes_sets.h"

namespace pyformer::PF_ISA::norm_planes {

struct Loops {
  template <class T>
  static void sums(const Planes<T>& a, Accumulator<T>* sum) {
    for (int64_t p = 0; p < a.planes; ++p) {
      const auto x = a.x + p * a.stride;
      sum[p] = row_sum<Accumulator<T>>(a.size, [&](int64_t i) { return Accumulator<T>(x[i]); });
    }
  }

  template <class T>
  static void squares(const Planes<T>& a, Accumulator<T>* sum) {
    for (int64_t p = 0; p < a.planes; ++p) {
      const auto x = a.x + p * a.stride;
      const auto d = [&](int64_t i) { return x[i] - a.mean; };
      sum[p] = row_dot<Accumulator<T>>(a.size, d, d);
    }
  }

  template <class T>
  static void apply(const Planes<T>& a, typename Access<T>::To to) {
    for (int64_t p = 0; p < a.planes; ++p) {
      const auto x = a.x + p * a.stride;
      const auto out = to + p * a.stride;
      for (int64_t i = 0; i < a.size; ++i) out[i] = fma((x[i] - a.mean) * a.rstd, a.weight_of(p), a.bias_of(p));
    }
  }

  template <class T>
  static void products(const Planes<T>& a, typename Access<T>::In from, Accumulator<T>* sum, Accumulator<T>* product) {
    using A = Accumulator<T>;
    for (int64_t p = 0; p < a.planes; ++p) {
      const auto x = a.x + p * a.stride, dout = from + p * a.stride;
      const auto d = [&](int64_t i) { return A(dout[i]); };
      sum[p] = row_sum<A>(a.size, d);
      product[p] = row_dot<A>(a.size, d, [&](int64_t i) { return (x[i] - a.mean) * a.rstd; });
    }
  }

  template <class T>
  static void gradient(const Planes<T>& a, typename Access<T>::In from, Accumulator<T> mean_g, Accumulator<T> mean_gx,
                       typename Access<T>::To to) {
    using A = Accumulator<T>;
    for (int64_t p = 0; p < a.planes; ++p) {
      const auto x = a.x + p * a.stride, dout = from + p * a.stride;
      const auto dx = to + p * a.stride;
      for (int64_t i = 0; i < a.size; ++i) {
        const A g = dout[i] * a.weight_of(p), xhat = (x[i] - a.mean) * a.rstd;
        dx[i] = a.rstd * ((g - mean_g) - xhat * mean_gx);
      }
    }
  }

  template <class T>
  static void constant_gradient(const Planes<T>& a, typename Access<T>::In dout, typename Access<T>::To dx) {
    for (int64_t p = 0; p < a.planes; ++p)
      for (int64_t i = p * a.stride; i < p * a.stride + a.size; ++i) dx[i] = a.rstd * (dout[i] * a.weight_of(p));
  }
};

template <class T>
static void deviation(const NormDeviation& a, int64_t begin, int64_t end) {
  for (int64_t c = begin; c < end; ++c)
    static_cast<T*>(a.rstd)[c] = T(1) / sqrt(static_cast<const T*>(a.var)[c] + T(a.eps));
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
      {{deviation<float>, deviation<double>}},
      for_each_float<Kernel<NormRunning>>([]<class T>() -> Kernel<NormRunning> { return running<T>; })};
  return table;
}
}  // namespace pyformer
