// group_norm and batch_norm, vector code for one instruction set: a plane at a time, its sums over sixteen lanes.
// Formulas and summation order are those of group_norm_ref.cpp.
#include "pyformer/ops/group_norm/group_norm_kernels.h"

#include "pyformer/base/reduce.h"

namespace pyformer::PF_ISA {

template <class T>
static PF_INLINE Lanes<T> number(const void* p) {
  return Lanes<T>::broadcast(*static_cast<const T*>(p));
}
template <class T>
static PF_INLINE Lanes<T> parameter(const NormPlanes& a, const void* values, int64_t p, T absent) {
  return Lanes<T>::broadcast(values ? static_cast<const T*>(values)[p * a.parameter_stride] : absent);
}

// Calls body(i, n) for the elements i .. i + n of a plane.
template <class Body>
static PF_INLINE void for_lanes(int64_t size, const Body& body) {
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) body(i, kLanes);
  if (i < size) body(i, size - i);
}

template <class T>
static void sums(const NormPlanes& a, int64_t begin, int64_t end) {
  for (int64_t p = begin; p < end; ++p) {
    const T* x = static_cast<const T*>(a.x) + p * a.stride;
    static_cast<T*>(a.sum)[p] =
        lanes_reduce<T>(a.size, [&](int64_t i, int64_t n, const Lanes<T>& sum) { return sum + load_lanes(x + i, n); });
  }
}

template <class T>
static void squares(const NormPlanes& a, int64_t begin, int64_t end) {
  const Lanes<T> mean = number<T>(a.mean);
  const T fill = *static_cast<const T*>(a.mean);
  for (int64_t p = begin; p < end; ++p) {
    const T* x = static_cast<const T*>(a.x) + p * a.stride;
    static_cast<T*>(a.sum)[p] = lanes_reduce<T>(a.size, [&](int64_t i, int64_t n, const Lanes<T>& sum) {
      const Lanes<T> d = (n == kLanes ? Lanes<T>::load(x + i) : Lanes<T>::load_partial(x + i, n, fill)) - mean;
      return fma(d, d, sum);
    });
  }
}

template <class T>
static void apply(const NormPlanes& a, int64_t begin, int64_t end) {
  const Lanes<T> mean = number<T>(a.mean), rstd = number<T>(a.rstd);
  for (int64_t p = begin; p < end; ++p) {
    const T* x = static_cast<const T*>(a.x) + p * a.stride;
    T* out = static_cast<T*>(a.out) + p * a.stride;
    const Lanes<T> weight = parameter(a, a.weight, p, T(1)), bias = parameter(a, a.bias, p, T(0));
    for_lanes(a.size, [&](int64_t i, int64_t n) {
      store_lanes(fma((load_lanes(x + i, n) - mean) * rstd, weight, bias), out + i, n);
    });
  }
}

template <class T>
static void products(const NormPlanes& a, int64_t begin, int64_t end) {
  const Lanes<T> mean = number<T>(a.mean), rstd = number<T>(a.rstd);
  for (int64_t p = begin; p < end; ++p) {
    const T* x = static_cast<const T*>(a.x) + p * a.stride;
    const T* dout = static_cast<const T*>(a.dout) + p * a.stride;
    BlockTree<T> sum, product;
    for (int64_t start = 0; start < a.size; start += kReduceBlock) {
      Lanes<T> d_lanes = Lanes<T>::zero(), product_lanes = Lanes<T>::zero();
      for_lanes(a.size - start < kReduceBlock ? a.size - start : kReduceBlock, [&](int64_t i, int64_t n) {
        const Lanes<T> d = load_lanes(dout + start + i, n);
        d_lanes = d_lanes + d;
        product_lanes = fma(d, (load_lanes(x + start + i, n) - mean) * rstd, product_lanes);
      });
      sum.add(sum_lanes(d_lanes));
      product.add(sum_lanes(product_lanes));
    }
    static_cast<T*>(a.sum)[p] = sum.total();
    static_cast<T*>(a.sum_product)[p] = product.total();
  }
}

template <class T>
static void gradient(const NormPlanes& a, int64_t begin, int64_t end) {
  const Lanes<T> mean = number<T>(a.mean), rstd = number<T>(a.rstd);
  for (int64_t p = begin; p < end; ++p) {
    const T* x = static_cast<const T*>(a.x) + p * a.stride;
    const T* dout = static_cast<const T*>(a.dout) + p * a.stride;
    T* dx = static_cast<T*>(a.dx) + p * a.stride;
    const Lanes<T> weight = parameter(a, a.weight, p, T(1));
    if (!a.mean_g) {
      for_lanes(a.size,
                [&](int64_t i, int64_t n) { store_lanes(rstd * (load_lanes(dout + i, n) * weight), dx + i, n); });
      continue;
    }
    const Lanes<T> mean_g = number<T>(a.mean_g), mean_gx = number<T>(a.mean_gx);
    for_lanes(a.size, [&](int64_t i, int64_t n) {
      const Lanes<T> g = load_lanes(dout + i, n) * weight, xhat = (load_lanes(x + i, n) - mean) * rstd;
      store_lanes(rstd * ((g - mean_g) - xhat * mean_gx), dx + i, n);
    });
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
