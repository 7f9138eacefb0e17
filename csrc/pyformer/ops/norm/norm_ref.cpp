// layer_norm and rms_norm, plain loops. What they define, in layer_norm d being x - mean:
//
//   mean = x_0 + sum_c (x - x_0) / C,  rest = sum_c d / C,  var = sum_c d^2 / C - rest^2,  rstd = 1 / sqrt(var + eps)
//   xhat = (d - rest) * rstd,  out = xhat * weight + bias
// in rms_norm:
//   rstd = 1 / sqrt(sum_c x^2 / C + eps),  xhat = x * rstd,  out = xhat * weight
//
// in units in which the squares neither overflow nor vanish (base/norm.h). Row sums are taken in the order of the
// row-reduction rule (reduce.h).
#include "pyformer/ops/norm/norm_kernels.h"

#include "pyformer/base/element.h"
#include "pyformer/base/norm.h"

namespace pyformer::PF_ISA {

template <NormForm usual, class A, class X>
static NormRow<A> statistics_of(int64_t C, double eps, const X& x) {
  if constexpr (usual == NormForm::rms) {
    const auto take = [&](A scale) {
      const auto scaled = [&](int64_t c) { return x(c) * scale; };
      return rms_statistics(scale, row_dot<A>(C, scaled, scaled) / A(C), eps);
    };
    return in_fitting_units<A>(eps, take, [&] { return row_largest(C, A(0), x); }).row;
  } else {
    const auto take = [&](A scale) {
      const A first = x(0) * scale;
      const A mean = first + row_sum<A>(C, [&](int64_t c) { return fma(x(c), scale, -first); }) / A(C);
      const auto centred = [&](int64_t c) { return fma(x(c), scale, -mean); };
      return row_statistics(scale, mean, row_sum<A>(C, centred) / A(C), row_dot<A>(C, centred, centred) / A(C), eps);
    };
    return in_fitting_units<A>(eps, take, [&] { return row_largest(C, x(0), x); }).row;
  }
}

template <class T, NormForm usual>
static void forward(const RowNormForward& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const int64_t C = a.cols;
  const auto weight = in<T>(a.weight), bias = in<T>(a.bias);
  for (int64_t row = begin; row < end; ++row) {
    const auto x = in<T>(a.x) + row * C;
    const auto out = to<T>(a.out) + row * C;
    const NormRow<A> statistics = statistics_of<usual, A>(C, a.eps, [&](int64_t c) { return A(x[c]); });
    const Normalizer<A> xhat(statistics);
    for (int64_t c = 0; c < C; ++c) {
      A value = xhat(x[c]);
      if (weight && bias)
        value = fma(value, A(weight[c]), A(bias[c]));
      else if (weight)
        value = value * weight[c];
      else if (bias)
        value = value + bias[c];
      out[c] = value;
    }
    static_cast<NormRow<A>*>(a.statistics)[row] = statistics;
  }
}

// With g = dout * weight, for each row
//   (1) dx      = rstd * (g - mean_c(g) - xhat * mean_c(g * xhat)), in rms_norm without mean_c(g)
//   (2) dweight = sum_rows dout * xhat      one FMA chain from +0 over the chunk's rows
//   (3) dbias   = sum_rows dout             one chain of additions
template <class T, NormForm usual>
static void backward(const RowNormBackward& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const int64_t C = a.cols;
  const auto weight = in<T>(a.weight);
  for (int64_t chunk = begin; chunk < end; ++chunk) {
    A* dweight = a.dweight ? static_cast<A*>(a.dweight) + chunk * C : nullptr;
    A* dbias = a.dbias ? static_cast<A*>(a.dbias) + chunk * C : nullptr;
    for (int64_t c = 0; c < C; ++c) {
      if (dweight) dweight[c] = A(0);
      if (dbias) dbias[c] = A(0);
    }
    const int64_t last = (chunk + 1) * a.kRowChunk < a.rows ? (chunk + 1) * a.kRowChunk : a.rows;
    for (int64_t row = chunk * a.kRowChunk; row < last; ++row) {
      const auto dout = in<T>(a.dout) + row * C, x = in<T>(a.x) + row * C;
      const Normalizer<A> normalizer(static_cast<const NormRow<A>*>(a.statistics)[row]);
      const auto xhat = [&](int64_t c) { return normalizer(x[c]); };
      const auto g = [&](int64_t c) { return weight ? dout[c] * weight[c] : A(dout[c]); };
      for (int64_t c = 0; c < C; ++c) {
        if (dweight) dweight[c] = fma(A(dout[c]), xhat(c), dweight[c]);  // (2)
        if (dbias) dbias[c] = dbias[c] + dout[c];                        // (3)
      }
      if (!a.dx) continue;
      const auto dx = to<T>(a.dx) + row * C;
      const A mean_g = usual == NormForm::rms ? A(0) : row_sum<A>(C, g) / A(C);
      const A mean_gx = row_dot<A>(C, g, xhat) / A(C);
      for (int64_t c = 0; c < C; ++c) dx[c] = normalizer.gradient(g(c) - mean_g, xhat(c), mean_gx);  // (1)
    }
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const RowNormTable& KernelsOf<RowNormTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  using Forward = Kernel<RowNormForward>;
  using Backward = Kernel<RowNormBackward>;
  static constexpr RowNormTable table = {
      for_each_float<Forward>([]<class T>() -> Forward { return forward<T, NormForm::centred>; }),
      for_each_float<Forward>([]<class T>() -> Forward { return forward<T, NormForm::rms>; }),
      for_each_float<Backward>([]<class T>() -> Backward { return backward<T, NormForm::centred>; }),
      for_each_float<Backward>([]<class T>() -> Backward { return backward<T, NormForm::rms>; })};
  return table;
}
}  // namespace pyformer
