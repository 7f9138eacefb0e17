// rms_norm, plain loops. What they define:
//
//   rstd = 1 / sqrt(sum_c x^2 / C + eps),  out = x * rstd * weight
//
// A row whose sum of squares overflows gives NaN. Row sums are taken in the order of the row-reduction rule (reduce.h).
#include "pyformer/ops/rms_norm/rms_norm_kernels.h"

#include "pyformer/base/element.h"
#include "pyformer/base/reduce.h"

namespace pyformer::PF_ISA {

template <class T>
static void forward(const RmsNormForward& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const int64_t C = a.cols;
  const auto weight = in<T>(a.weight);
  for (int64_t row = begin; row < end; ++row) {
    const auto x = in<T>(a.x) + row * C;
    const auto out = to<T>(a.out) + row * C;
    const auto value = [&](int64_t c) { return A(x[c]); };
    const A rstd = reciprocal_root(row_dot<A>(C, value, value) / A(C) + A(a.eps));
    for (int64_t c = 0; c < C; ++c) out[c] = weight ? x[c] * rstd * weight[c] : x[c] * rstd;
    static_cast<A*>(a.rstd)[row] = rstd;
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
      const A rstd = static_cast<const A*>(a.rstd)[row];
      const auto xhat = [&](int64_t c) { return x[c] * rstd; };
      const auto g = [&](int64_t c) { return weight ? dout[c] * weight[c] : A(dout[c]); };
      for (int64_t c = 0; dweight && c < C; ++c) dweight[c] = fma(A(dout[c]), xhat(c), dweight[c]);  // (2)
      if (!a.dx) continue;
      const auto dx = to<T>(a.dx) + row * C;
      const A mean_gx = row_dot<A>(C, g, xhat) / A(C);
      for (int64_t c = 0; c < C; ++c) dx[c] = rstd * (g(c) - xhat(c) * mean_gx);  // (1)
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
