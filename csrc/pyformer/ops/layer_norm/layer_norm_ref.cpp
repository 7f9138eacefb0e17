// layer_norm, plain loops. What they define:
//
//   mean = sum_c x / C,  var = sum_c (x - mean)^2 / C,  rstd = 1 / sqrt(var + eps)
//   out  = (x - mean) * rstd * weight + bias
//
// A row whose var overflows gives NaN. Row sums are taken in the order of the row-reduction rule (reduce.h).
#include "pyformer/ops/layer_norm/layer_norm_kernels.h"

#include "pyformer/base/reduce.h"

namespace pyformer::PF_ISA {

template <class T>
static void forward(const LayerNormForward& a, int64_t begin, int64_t end) {
  const int64_t C = a.cols;
  const T* weight = static_cast<const T*>(a.weight);
  const T* bias = static_cast<const T*>(a.bias);
  for (int64_t row = begin; row < end; ++row) {
    const T* x = static_cast<const T*>(a.x) + row * C;
    T* out = static_cast<T*>(a.out) + row * C;
    const T mean = row_sum<T>(C, [&](int64_t c) { return x[c]; }) / T(C);
    const T var = row_dot<T>(C, [&](int64_t c) { return x[c] - mean; }, [&](int64_t c) { return x[c] - mean; }) / T(C);
    const T rstd = reciprocal_root(var + T(a.eps));
    for (int64_t c = 0; c < C; ++c) {
      T value = (x[c] - mean) * rstd;
      if (weight && bias)
        value = fma(value, weight[c], bias[c]);
      else if (weight)
        value = value * weight[c];
      else if (bias)
        value = value + bias[c];
      out[c] = value;
    }
    static_cast<T*>(a.mean)[row] = mean;
    static_cast<T*>(a.rstd)[row] = rstd;
  }
}

// With xhat = (x - mean) * rstd and g = dout * weight, for each row
//   (1) dx      = rstd * (g - mean_c(g) - xhat * mean_c(g * xhat))
//   (2) dweight = sum_rows dout * xhat      one FMA chain from +0 over the chunk's rows
//   (3) dbias   = sum_rows dout             one chain of additions
template <class T>
static void backward(const LayerNormBackward& a, int64_t begin, int64_t end) {
  const int64_t C = a.cols;
  const T* weight = static_cast<const T*>(a.weight);
  for (int64_t chunk = begin; chunk < end; ++chunk) {
    T* dweight = a.dweight ? static_cast<T*>(a.dweight) + chunk * C : nullptr;
    T* dbias = a.dbias ? static_cast<T*>(a.dbias) + chunk * C : nullptr;
    for (int64_t c = 0; c < C; ++c) {
      if (dweight) dweight[c] = T(0);
      if (dbias) dbias[c] = T(0);
    }
    const int64_t last = (chunk + 1) * a.kRowChunk < a.rows ? (chunk + 1) * a.kRowChunk : a.rows;
    for (int64_t row = chunk * a.kRowChunk; row < last; ++row) {
      const T* dout = static_cast<const T*>(a.dout) + row * C;
      const T* x = static_cast<const T*>(a.x) + row * C;
      const T mean = static_cast<const T*>(a.mean)[row], rstd = static_cast<const T*>(a.rstd)[row];
      const auto xhat = [&](int64_t c) { return (x[c] - mean) * rstd; };
      const auto g = [&](int64_t c) { return weight ? dout[c] * weight[c] : dout[c]; };
      for (int64_t c = 0; c < C; ++c) {
        if (dweight) dweight[c] = fma(dout[c], xhat(c), dweight[c]);  // (2)
        if (dbias) dbias[c] = dbias[c] + dout[c];                     // (3)
      }
      if (!a.dx) continue;
      T* dx = static_cast<T*>(a.dx) + row * C;
      const T mean_g = row_sum<T>(C, g) / T(C);
      const T mean_gx = row_dot<T>(C, g, xhat) / T(C);
      for (int64_t c = 0; c < C; ++c) dx[c] = rstd * ((g(c) - mean_g) - xhat(c) * mean_gx);  // (1)
    }
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const LayerNormKernels& layer_norm_kernels<PF_ISA::kIsa>() {
  static constexpr LayerNormKernels kernels = {{PF_ISA::forward<float>, PF_ISA::forward<double>},
                                               {PF_ISA::backward<float>, PF_ISA::backward<double>}};
  return kernels;
}
}  // namespace pyformer
