#include "pyformer/ops/group_norm/norm_planes.h"

#include <cmath>

#include "pyformer/base/dispatch.h"
#include "pyformer/base/thread_pool.h"
#include "pyformer/core/partials.h"
#include "pyformer/ops/group_norm/group_norm_kernels.h"

namespace pyformer {

static const KernelSets<NormPlanesKernels>& sets() {
  static const auto sets = kernel_sets<NormPlanesKernels>([]<Isa isa>() { return &norm_planes_kernels<isa>(); });
  return sets;
}

void check_channels(const char* op, const char* which, const Array& parameter, const Array& x) {
  if (!parameter.defined()) return;
  if (!(parameter.shape() == Shape{x.dim(1)}))
    throw ValueError(cat(op, ": ", which, " must be (C,) = (", x.dim(1), ",), got ", parameter.shape().str()));
  if (parameter.dtype() != x.dtype())
    throw TypeError(cat(op, ": ", which, " must be ", name(x.dtype()), " as x is, got ", name(parameter.dtype())));
}

void check_norm(const char* op, const Array& x, const Array& weight, const Array& bias, double eps) {
  float_index(op, x.dtype());
  if (x.ndim() < 2) throw ValueError(cat(op, ": x must be (N, C, ...), got ", x.shape().str()));
  if (!(eps >= 0 && std::isfinite(eps))) throw ValueError(cat(op, ": eps must be >= 0 and finite, got ", eps));
  check_channels(op, "weight", weight, x);
  check_channels(op, "bias", bias, x);
}

template <class T>
static T* at(const Array& array, int64_t offset) {
  return array.defined() ? array.data<T>() + offset : nullptr;
}

// The planes of set s.
template <class T>
static NormPlanes planes_of(const NormSets& n, int64_t s, const Array& x, const Array& mean, const Array& rstd,
                            const Array& weight, const Array& bias) {
  const int64_t parameter = s % n.parameter_sets * n.parameter_step;
  NormPlanes a = {};
  a.size = n.size;
  a.stride = n.plane_stride;
  a.parameter_stride = n.parameter_each;
  a.x = at<T>(x, s * n.set_stride);
  a.mean = at<T>(mean, s);
  a.rstd = at<T>(rstd, s);
  a.weight = at<T>(weight, parameter);
  a.bias = at<T>(bias, parameter);
  return a;
}

template <class T>
static T chain(const T* values, int64_t count) {
  T sum = T(0);
  for (int64_t i = 0; i < count; ++i) sum = sum + values[i];
  return sum;
}

template <class Body>
static void for_sets(const NormSets& n, const Body& body) {
  parallel_for(n.sets, grain_of_rows(n.count()), [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) body(s);
  });
}

template <class T>
static NormStatistics statistics(const NormSets& n, const Array& x) {
  const auto sum_kernel = find_kernel(n.op, sets(), &NormPlanesKernels::sums, x.dtype());
  const auto square_kernel = find_kernel(n.op, sets(), &NormPlanesKernels::squares, x.dtype());
  const NormStatistics r = {Array::empty({n.sets}, x.dtype()), Array::empty({n.sets}, x.dtype())};
  const Array sums = Array::empty({n.sets, n.planes}, x.dtype());
  for_sets(n, [&](int64_t s) {
    NormPlanes a = planes_of<T>(n, s, x, r.mean, {}, {}, {});
    T* sum = sums.data<T>() + s * n.planes;
    a.sum = sum;
    sum_kernel(a, 0, n.planes);
    r.mean.data<T>()[s] = chain(sum, n.planes) / T(n.count());
    square_kernel(a, 0, n.planes);
    r.var.data<T>()[s] = chain(sum, n.planes) / T(n.count());
  });
  return r;
}

NormStatistics norm_statistics(const NormSets& n, const Array& x) {
  return x.dtype() == DType::float64 ? statistics<double>(n, x) : statistics<float>(n, x);
}

Array reciprocal_deviation(const Array& var, double eps) {
  const Array rstd = Array::empty(var.shape(), var.dtype());
  const auto fill = [&]<class T>(const T* from, T* to) {
    for (int64_t i = 0; i < var.size(); ++i) to[i] = T(1) / std::sqrt(from[i] + T(eps));
  };
  if (var.dtype() == DType::float64)
    fill(var.data<double>(), rstd.data<double>());
  else
    fill(var.data<float>(), rstd.data<float>());
  return rstd;
}

template <class T>
static void apply(const NormSets& n, const Array& x, const Array& mean, const Array& rstd, const Array& weight,
                  const Array& bias, const Array& out) {
  const auto kernel = find_kernel(n.op, sets(), &NormPlanesKernels::apply, x.dtype());
  for_sets(n, [&](int64_t s) {
    NormPlanes a = planes_of<T>(n, s, x, mean, rstd, weight, bias);
    a.out = at<T>(out, s * n.set_stride);
    kernel(a, 0, n.planes);
  });
}

Array norm_apply(const NormSets& n, const Array& x, const Array& mean, const Array& rstd, const Array& weight,
                 const Array& bias) {
  const Array out = Array::empty(x.shape(), x.dtype());
  if (x.dtype() == DType::float64)
    apply<double>(n, x, mean, rstd, weight, bias, out);
  else
    apply<float>(n, x, mean, rstd, weight, bias, out);
  return out;
}

// mean over a set of g = dout * weight, or of g * xhat, from the sums over its planes
template <class T>
static T weighted_mean(const NormPlanes& a, const T* sums, const NormSets& n) {
  T total = T(0);
  for (int64_t p = 0; p < n.planes; ++p)
    total = total + (a.weight ? static_cast<const T*>(a.weight)[p * a.parameter_stride] * sums[p] : sums[p]);
  return total / T(n.count());
}

template <class T>
static void gradient(const NormSets& n, const Array& dout, const Array& x, const Array& mean, const Array& rstd,
                     const Array& weight, bool constant, const NormGradient& r) {
  const auto product_kernel = find_kernel(n.op, sets(), &NormPlanesKernels::products, x.dtype());
  const auto gradient_kernel = find_kernel(n.op, sets(), &NormPlanesKernels::gradient, x.dtype());
  for_sets(n, [&](int64_t s) {
    NormPlanes a = planes_of<T>(n, s, x, mean, rstd, weight, {});
    T* sum = r.sum.data<T>() + s * n.planes;
    T* sum_product = r.sum_product.data<T>() + s * n.planes;
    a.dout = at<T>(dout, s * n.set_stride);
    a.sum = sum;
    a.sum_product = sum_product;
    product_kernel(a, 0, n.planes);
    if (!r.dx.defined()) return;
    const T mean_g = weighted_mean(a, sum, n), mean_gx = weighted_mean(a, sum_product, n);
    a.mean_g = constant ? nullptr : &mean_g;
    a.mean_gx = &mean_gx;
    a.dx = at<T>(r.dx, s * n.set_stride);
    gradient_kernel(a, 0, n.planes);
  });
}

NormGradient norm_gradient(const NormSets& n, const Array& dout, const Array& x, const Array& mean, const Array& rstd,
                           const Array& weight, bool constant, bool need_dx) {
  const NormGradient r = {need_dx ? Array::empty(x.shape(), x.dtype()) : Array(),
                          Array::empty({n.sets, n.planes}, x.dtype()), Array::empty({n.sets, n.planes}, x.dtype())};
  if (x.dtype() == DType::float64)
    gradient<double>(n, dout, x, mean, rstd, weight, constant, r);
  else
    gradient<float>(n, dout, x, mean, rstd, weight, constant, r);
  return r;
}

}  // namespace pyformer
