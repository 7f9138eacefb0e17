// rms_norm, plain loops. What they define:
//
//   rstd = 1 / sqrt(sum_c x^2 / C + eps),  out = x * rstd * weight
//
// in units in which x^2 neither overflows nor vanishes (norm.h). Row sums are taken in the order of the row-reduction
// rule (reduce.h).
#include "pyformer/ops/rms_norm/rms_norm_kernels.h"

#include "pyformer/base/element.h"
#include "pyformer/base/norm.h"

namespace pyformer::PF_ISA {

template <class A, class X>
static NormRow<A> statistics_of(int64_t C, double eps, const X& x) {
  const auto take = [&](A scale) {
    const auto scaled = [&](int64_t c) { return x(c) * scale; };
    return rms_statistics(scale, row_dot<A>(C, scaled, scaled) / A(C), eps);
  };
  return in_fitting_units<A>(eps, take, [&] { return row_largest(C, A(0), x); }).row;
}

template <class T>
static void forward(const RmsNormForward& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const int64_t C = a.cols;
  const auto weight = in<T>(a.weight);
  for (int64_t row = begin; row < end; ++row) {
    const auto x = in<T>(a.x) + row * C;
    const auto out = to<T>(a.out) + row * C;
    const NormRow<A> statistics = statistics_of<A>(C, a.eps, [&](int64_t c) { return A(x[c]); });
    const Normalizer<A> xhat(statistics);
    for (int64_t c = 0; c < C; ++c) out[c] = weight ? xhat(x[c]) * weight[c] : xhat(x[c]);
    static_cast<NormRow<A>*>(a.statistics)[row] = statistics;
  }
}

// With xhat = x * rstd and g = dout * weight, for each row
//   (1) dx      = rstd * (g - xhat * mean_c(g * xhat))
//   (2) dweight = sum_rows dout * xhat      one FMA chain from +0 over the chunk's rows
template <class T>
static void backward(const RmsNormBackward& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const int64_t C = a.cols;
  const auto weight = in<T>(a.weight);
  for (int64_t chunk = begin; chunk < end; ++chunk) {
    A* dweight = a.dweight ? static_cast<A*>(a.dweight) + chunk * C : nullptr;
    for (int64_t c = 0; dweight && c < C; ++c) dweight[c] = A(0);
    const int64_t last = (chunk + 1) * a.kRowChunk < a.rows ? (chunk + 1) * a.kRowChunk : a.rows;
    for (int64_t row = chunk * a.kRowChunk; row < last; ++row) {
      const auto dout = in<T>(a.dout) + row * C, x = in<T>(a.x) + row * C;
      const Normalizer<A> normalizer(static_cast<const NormRow<A>*>(a.statistics)[row]);
      const auto xhat = [&](int64_t c) { return normalizer(x[c]); };
      const auto g = [&](int64_t c) { return weight ? dout[c] * weight[c] : A(dout[c]); };
      for (int64_t c = 0; dweight && c < C; ++c) dweight[c] = fma(A(dout[c]), xhat(c), dweight[c]);  // (2)
      if (!a.dx) continue;
      const auto dx = to<T>(a.dx) + row * C;
      const A mean_gx = row_dot<A>(C, g, xhat) / A(C);
      for (int64_t c = 0; c < C; ++c) dx[c] = normalizer.gradient(g(c), xhat(c), mean_gx);  // (1)
    }
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const RmsNormTable& KernelsOf<RmsNormTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr RmsNormTable table = {
      for_each_float<Kernel<RmsNormForward>>([]<class T>() -> Kernel<RmsNormForward> { return forward<T>; }),
      for_each_float<Kernel<RmsNormBackward>>([]<class T>() -> Kernel<RmsNormBackward> { return backward<T>; })};
  return table;
}
}  // namespace pyformer
