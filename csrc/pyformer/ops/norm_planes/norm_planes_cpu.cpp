// group_norm and batch_norm, vector code for one instruction set: a plane at a time, its sums over sixteen lanes.
// Formulas and summation order are those of norm_planes_ref.cpp.
#include "pyformer/base/reduce.h"
#include "pyformer/ops/norm_planes/norm_planes_sets.h"

namespace pyformer::PF_ISA::norm_planes {

// Calls body(i, n) for the elements i .. i + n of a plane.
template <class Body>
static PF_INLINE void for_lanes(int64_t size, const Body& body) {
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) body(i, kLanes);
  if (i < size) body(i, size - i);
}

struct Loops {
  template <class T>
  static void sums(const Planes<T>& a, T* sum) {
    for (int64_t p = 0; p < a.planes; ++p) {
      const T* x = a.x + p * a.stride;
      sum[p] = lanes_reduce<T>(
          a.size, [&](int64_t i, int64_t n, const Lanes<T>& lanes) { return lanes + load_lanes(x + i, n); });
    }
  }

  template <class T>
  static void squares(const Planes<T>& a, T* sum) {
    const Lanes<T> mean = Lanes<T>::broadcast(a.mean);
    for (int64_t p = 0; p < a.planes; ++p) {
      const T* x = a.x + p * a.stride;
      sum[p] = lanes_reduce<T>(a.size, [&](int64_t i, int64_t n, const Lanes<T>& lanes) {
        const Lanes<T> d = (n == kLanes ? Lanes<T>::load(x + i) : Lanes<T>::load_partial(x + i, n, a.mean)) - mean;
        return fma(d, d, lanes);
      });
    }
  }

  template <class T>
  static void apply(const Planes<T>& a, T* to) {
    const Lanes<T> mean = Lanes<T>::broadcast(a.mean), rstd = Lanes<T>::broadcast(a.rstd);
    for (int64_t p = 0; p < a.planes; ++p) {
      const T* x = a.x + p * a.stride;
      T* out = to + p * a.stride;
      const Lanes<T> weight = Lanes<T>::broadcast(a.weight_of(p)), bias = Lanes<T>::broadcast(a.bias_of(p));
      for_lanes(a.size, [&](int64_t i, int64_t n) {
        store_lanes(fma((load_lanes(x + i, n) - mean) * rstd, weight, bias), out + i, n);
      });
    }
  }

  template <class T>
  static void products(const Planes<T>& a, const T* from, T* sums, T* sum_products) {
    const Lanes<T> mean = Lanes<T>::broadcast(a.mean), rstd = Lanes<T>::broadcast(a.rstd);
    for (int64_t p = 0; p < a.planes; ++p) {
      const T *x = a.x + p * a.stride, *dout = from + p * a.stride;
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
      sums[p] = sum.total();
      sum_products[p] = product.total();
    }
  }

  template <class T>
  static void gradient(const Planes<T>& a, const T* from, T mean_of_g, T mean_of_gx, T* to) {
    const Lanes<T> mean = Lanes<T>::broadcast(a.mean), rstd = Lanes<T>::broadcast(a.rstd);
    const Lanes<T> mean_g = Lanes<T>::broadcast(mean_of_g), mean_gx = Lanes<T>::broadcast(mean_of_gx);
    for (int64_t p = 0; p < a.planes; ++p) {
      const T *x = a.x + p * a.stride, *dout = from + p * a.stride;
      T* dx = to + p * a.stride;
      const Lanes<T> weight = Lanes<T>::broadcast(a.weight_of(p));
      for_lanes(a.size, [&](int64_t i, int64_t n) {
        const Lanes<T> g = load_lanes(dout + i, n) * weight, xhat = (load_lanes(x + i, n) - mean) * rstd;
        store_lanes(rstd * ((g - mean_g) - xhat * mean_gx), dx + i, n);
      });
    }
  }

  template <class T>
  static void constant_gradient(const Planes<T>& a, const T* from, T* to) {
    const Lanes<T> rstd = Lanes<T>::broadcast(a.rstd);
    for (int64_t p = 0; p < a.planes; ++p) {
      const T* dout = from + p * a.stride;
      T* dx = to + p * a.stride;
      const Lanes<T> weight = Lanes<T>::broadcast(a.weight_of(p));
      for_lanes(a.size,
                [&](int64_t i, int64_t n) { store_lanes(rstd * (load_lanes(dout + i, n) * weight), dx + i, n); });
    }
  }
};

}  // namespace pyformer::PF_ISA::norm_planes

namespace pyformer {
template <>
const NormPlanesTable& KernelsOf<NormPlanesTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA::norm_planes;
  static constexpr NormPlanesTable table = {{{statistics<Loops, float>, statistics<Loops, double>}},
                                            {{apply<Loops, float>, apply<Loops, double>}},
                                            {{backward<Loops, float>, backward<Loops, double>}},
                                            {},  // a few numbers: the plain loops serve
                                            {}};
  return table;
}
}  // namespace pyformer
