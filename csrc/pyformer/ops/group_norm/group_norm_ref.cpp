// group_norm and batch_norm, plain loops over planes. What they define, with xhat = (x - mean) * rstd, g = dout *
// weight:
//
//   out = xhat * weight + bias,  dx = rstd * (g - mean_g - xhat * mean_gx),  or rstd * g where mean and rstd are given
//
// Sums over a plane are taken in the order of the row-reduction rule (reduce.h).
#include "pyformer/ops/group_norm/group_norm_kernels.h"

#include "pyformer/base/reduce.h"

namespace pyformer::PF_ISA {

template <class T>
static T number(const void* p) {
  return *static_cast<const T*>(p);
}

template <class T>
static void sums(const NormPlanes& a, int64_t begin, int64_t end) {
  for (int64_t p = begin; p < end; ++p) {
    const T* x = static_cast<const T*>(a.x) + p * a.stride;
    static_cast<T*>(a.sum)[p] = row_sum<T>(a.size, [&](int64_t i) { return x[i]; });
  }
}

template <class T>
static void squares(const NormPlanes& a, int64_t begin, int64_t end) {
  const T mean = number<T>(a.mean);
  for (int64_t p = begin; p < end; ++p) {
    const T* x = static_cast<const T*>(a.x) + p * a.stride;
    const auto d = [&](int64_t i) { return x[i] - mean; };
    static_cast<T*>(a.sum)[p] = row_dot<T>(a.size, d, d);
  }
}

template <class T>
static void apply(const NormPlanes& a, int64_t begin, int64_t end) {
  const T mean = number<T>(a.mean), rstd = number<T>(a.rstd);
  for (int64_t p = begin; p < end; ++p) {
    const T* x = static_cast<const T*>(a.x) + p * a.stride;
    T* out = static_cast<T*>(a.out) + p * a.stride;
    const T weight = a.weight ? static_cast<const T*>(a.weight)[p * a.parameter_stride] : T(1);
    const T bias = a.bias ? static_cast<const T*>(a.bias)[p * a.parameter_stride] : T(0);
    for (int64_t i = 0; i < a.size; ++i) out[i] = fma((x[i] - mean) * rstd, weight, bias);
  }
}

template <class T>
static void products(const NormPlanes& a, int64_t begin, int64_t end) {
  const T mean = number<T>(a.mean), rstd = number<T>(a.rstd);
  for (int64_t p = begin; p < end; ++p) {
    const T* x = static_cast<const T*>(a.x) + p * a.stride;
    const T* dout = static_cast<const T*>(a.dout) + p * a.stride;
    static_cast<T*>(a.sum)[p] = row_sum<T>(a.size, [&](int64_t i) { return dout[i]; });
    static_cast<T*>(a.sum_product)[p] =
        row_dot<T>(a.size, [&](int64_t i) { return dout[i]; }, [&](int64_t i) { return (x[i] - mean) * rstd; });
  }
}

template <class T>
static void gradient(const NormPlanes& a, int64_t begin, int64_t end) {
  const T mean = number<T>(a.mean), rstd = number<T>(a.rstd);
  for (int64_t p = begin; p < end; ++p) {
    const T* x = static_cast<const T*>(a.x) + p * a.stride;
    const T* dout = static_cast<const T*>(a.dout) + p * a.stride;
    T* dx = static_cast<T*>(a.dx) + p * a.stride;
    const T weight = a.weight ? static_cast<const T*>(a.weight)[p * a.parameter_stride] : T(1);
    for (int64_t i = 0; i < a.size; ++i) {
      const T g = dout[i] * weight, xhat = (x[i] - mean) * rstd;
      dx[i] = rstd * (a.mean_g ? (g - number<T>(a.mean_g)) - xhat * number<T>(a.mean_gx) : g);
    }
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const NormPlanesKernels& norm_planes_kernels<PF_ISA::kIsa>() {
  using namespace PF_ISA;
  static constexpr NormPlanesKernels kernels = {{sums<float>, sums<double>},
                                                {squares<float>, squares<double>},
                                                {apply<float>, apply<double>},
                                                {products<float>, products<double>},
                                                {gradient<float>, gradient<double>}};
  return kernels;
}
}  // namespace pyformer
