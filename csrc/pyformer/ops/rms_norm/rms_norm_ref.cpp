// rms_norm, plain loops. What they define:
//
//   rstd = 1 / sqrt(sum_c x^2 / C + eps),  out = x * rstd * weight
//
// A row whose sum of squares overflows gives NaN. Row sums are taken in the order of the row-reduction rule (reduce.h).
#include "pyformer/ops/rms_norm/rms_norm_kernels.h"

#include "pyformer/base/reduce.h"

namespace pyformer::PF_ISA {

template <class T>
static void forward(const RmsNormForward& a, int64_t begin, int64_t end) {
  const int64_t C = a.cols;
  const T* weight = static_cast<const T*>(a.weight);
  for (int64_t row = begin; row < end; ++row) {
    const T* x = static_cast<const T*>(a.x) + row * C;
    T* out = static_cast<T*>(a.out) + row * C;
    const T square = row_dot<T>(C, [&](int64_t c) { return x[c]; }, [&](int64_t c) { return x[c]; }) / T(C);
    const T rstd = reciprocal_root(square + T(a.eps));
    for (int64_t c = 0; c < C; ++c) out[c] = weight ? x[c] * rstd * weight[c] : x[c] * rstd;
    static_cast<T*>(a.rstd)[row] = rstd;
  }
}

// With xhat = x * rstd and g = dout * weight, for each row
//   (1) dx      = rstd * (g - xhat * mean_c(g * xhat))
//   (2) dweight = sum_rows dout * xhat      one FMA chain from +0 over the chunk's rows
template <class T>
static void backward(const RmsNormBackward& a, int64_t begin, int64_t end) {
  const int64_t C = a.cols;
  const T* weight = static_cast<const T*>(a.weight);
  for (int64_t chunk = begin; chunk < end; ++chunk) {
    T* dweight = a.dweight ? static_cast<T*>(a.dweight) + chunk * C : nullptr;
    for (int64_t c = 0; dweight && c < C; ++c) dweight[c] = T(0);
    const int64_t last = (chunk + 1) * a.kRowChunk < a.rows ? (chunk + 1) * a.kRowChunk : a.rows;
    for (int64_t row = chunk * a.kRowChunk; row < last; ++row) {
      const T* dout = static_cast<const T*>(a.dout) + row * C;
      const T* x = static_cast<const T*>(a.x) + row * C;
      const T rstd = static_cast<const T*>(a.rstd)[row];
      const auto xhat = [&](int64_t c) { return x[c] * rstd; };
      const auto g = [&](int64_t c) { return weight ? dout[c] * weight[c] : dout[c]; };
      for (int64_t c = 0; dweight && c < C; ++c) dweight[c] = fma(dout[c], xhat(c), dweight[c]);  // (2)
      if (!a.dx) continue;
      T* dx = static_cast<T*>(a.dx) + row * C;
      const T mean_gx = row_dot<T>(C, g, xhat) / T(C);
      for (int64_t c = 0; c < C; ++c) dx[c] = rstd * (g(c) - xhat(c) * mean_gx);  // (1)
    }
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const RmsNormKernels& rms_norm_kernels<PF_ISA::kIsa>() {
  static constexpr RmsNormKernels kernels = {{PF_ISA::forward<float>, PF_ISA::forward<double>},
                                             {PF_ISA::backward<float>, PF_ISA::backward<double>}};
  return kernels;
}
}  // namespace pyformer
