// layer_norm, plain loops. What they define:
//
//   mean = sum_c x / C,  var = sum_c (x - mean)^2 / C,  rstd = 1 / sqrt(var + eps)
//   out  = (x - mean) * rstd * weight + bias
//
// A row whose var overflows gives NaN. Row sums are taken in the order of the row-reduction rule (reduce.h).
#include "pyformer/ops/layer_norm/layer_norm_kernels.h"

#include "pyformer/base/element.h"
#include "pyformer/base/reduce.h"

namespace pyformer::PF_ISA {

template <class T>
static void forward(const LayerNormForward& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const int64_t C = a.cols;
  const auto weight = in<T>(a.weight), bias = in<T>(a.bias);
  for (int64_t row = begin; row < end; ++row) {
    const auto x = in<T>(a.x) + row * C;
    const auto out = to<T>(a.out) + row * C;
    const A mean = row_sum<A>(C, [&](int64_t c) { return A(x[c]); }) / A(C);
    const auto centred = [&](int64_t c) { return x[c] - mean; };
    const A var = row_dot<A>(C, centred, centred) / A(C);
    const A rstd = reciprocal_root(var + A(a.eps));
    for (int64_t c = 0; c < C; ++c) {
      A value = (x[c] - mean) * rstd;
      if (weight && bias)
        value = fma(value, A(weight[c]), A(bias[c]));
      else if (weight)
        value = value * weight[c];
      else if (bias)
        value = value + bias[c];
      out[c] = value;
    }
    static_cast<A*>(a.mean)[row] = mean;
    static_cast<A*>(a.rstd)[row] = rstd;
  }
}

// With xhat = (x - mean) * rstd and g = dout * weight, for each row
//   (1) dx      = rstd * (g - mean_c(g) - xhat * mean_c(g * xhat))
//   (2) dweight = sum_rows dout * xhat      one FMA chain from +0 over the chunk's rows
//   (3) dbias   = sum_rows dout             one chain of additions
template <class T>
static void backward(const LayerNormBackward& a, int64_t begin, int64_t end) {
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
      const A mean = static_cast<const A*>(a.mean)[row], rstd = static_cast<const A*>(a.rstd)[row];
      const auto xhat = [&](int64_t c) { return (x[c] - mean) * rstd; };
      const auto g = [&](int64_t c) { return weight ? dout[c] * weight[c] : A(dout[c]); };
      for (int64_t c = 0; c < C; ++c) {
        if (dweight) dweight[c] = fma(A(dout[c]), xhat(c), dweight[c]);  // (2)
        if (dbias) dbias[c] = dbias[c] + dout[c];                        // (3)
      }
      if (!a.dx) continue;
      const auto dx = to<T>(a.dx) + row * C;
      const A mean_g = row_sum<A>(C, g) / A(C);
      const A mean_gx = row_dot<A>(C, g, xhat) / A(C);
      for (int64_t c = 0; c < C; ++c) dx[c] = rstd * ((g(c) - mean_g) - xhat(c) * mean_gx);  // (1)
    }
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const LayerNormTable& KernelsOf<LayerNormTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr LayerNormTable table = {
      for_each_float<Kernel<LayerNormForward>>([]<class T>() -> Kernel<LayerNormForward> { return forward<T>; }),
      for_each_float<Kernel<LayerNormBackward>>([]<class T>() -> Kernel<LayerNormBackward> { return backward<T>; })};
  return table;
}
}  // namespace pyformer
