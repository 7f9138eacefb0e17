// group_norm and batch_norm, vector code for one instruction set: a plane at a time, its sums over sixteen lanes.
// Formulas and summation order are those of norm_planes_ref.cpp.
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
  static T sum(const Planes<T>& a, T scale, T origin) {
    const Lanes<T> scales = Lanes<T>::broadcast(scale), minus_origin = Lanes<T>::broadcast(-origin);
    BlockTree<T> tree;
    for (int64_t p = 0; p < a.planes; ++p) {
      const T* x = a.x + p * a.stride;
      tree.add(lanes_reduce<T>(a.size, [&](int64_t i, int64_t n, const Lanes<T>& lanes) {
        return lanes + fma(load_lanes(x + i, n), scales, minus_origin);
      }));
    }
    return tree.total();
  }

  template <class T>
  static void sums_of_centred(const Planes<T>& a, T scale, T mean, T (&sums)[2]) {
    const Lanes<T> scales = Lanes<T>::broadcast(scale), minus_mean = Lanes<T>::broadcast(-mean);
    BlockTree<T> sum, square;
    for (int64_t p = 0; p < a.planes; ++p) {
      const T* x = a.x + p * a.stride;
      lanes_sums(
          a.size,
          [&](int64_t i, int64_t n, Lanes<T>* lanes) {
            const Lanes<T> d = fma(load_lanes(x + i, n), scales, minus_mean);
            lanes[0] = lanes[0] + d;
            lanes[1] = fma(d, d, lanes[1]);
          },
          sums);
      sum.add(sums[0]);
      square.add(sums[1]);
    }
    sums[0] = sum.total();
    sums[1] = square.total();
  }

  template <class T>
  static T largest(const Planes<T>& a, T origin) {
    T largest = T(0);
    for (int64_t p = 0; p < a.planes; ++p) largest = max(lanes_largest(a.x + p * a.stride, a.size, origin), largest);
    return largest;
  }

  template <class T>
  static void apply(const Planes<T>& a, T* to) {
    with_form<NormForm::centred>(a.row, [&]<NormForm form>() { apply_in<form>(a, to); });
  }
  template <NormForm form, class T>
  static void apply_in(const Planes<T>& a, T* to) {
    const Normalizer<Lanes<T>, form> xhat(a.row);
    for (int64_t p = 0; p < a.planes; ++p) {
      const T* x = a.x + p * a.stride;
      T* out = to + p * a.stride;
      const Lanes<T> weight = Lanes<T>::broadcast(a.weight_of(p)), bias = Lanes<T>::broadcast(a.bias_of(p));
      for_lanes(a.size,
                [&](int64_t i, int64_t n) { store_lanes(fma(xhat(load_lanes(x + i, n)), weight, bias), out + i, n); });
    }
  }

  template <class T>
  static void products(const Planes<T>& a, const T* from, T* sum, T* product) {
    with_form<NormForm::centred>(a.row, [&]<NormForm form>() { products_in<form>(a, from, sum, product); });
  }
  template <NormForm form, class T>
  static void products_in(const Planes<T>& a, const T* from, T* sum, T* product) {
    const Normalizer<Lanes<T>, form> xhat(a.row);
    for (int64_t p = 0; p < a.planes; ++p) {
      const T *x = a.x + p * a.stride, *dout = from + p * a.stride;
      T sums[2];
      lanes_sums(
          a.size,
          [&](int64_t i, int64_t n, Lanes<T>* lanes) {
            const Lanes<T> d = load_lanes(dout + i, n);
            lanes[0] = lanes[0] + d;
            lanes[1] = fma(d, xhat(load_lanes(x + i, n)), lanes[1]);
          },
          sums);
      sum[p] = sums[0];
      product[p] = sums[1];
    }
  }

  template <class T>
  static void gradient(const Planes<T>& a, const T* from, T mean_of_g, T mean_of_gx, T* to) {
    with_form<NormForm::centred>(a.row,
                                 [&]<NormForm form>() { gradient_in<form>(a, from, mean_of_g, mean_of_gx, to); });
  }
  template <NormForm form, class T>
  static void gradient_in(const Planes<T>& a, const T* from, T mean_of_g, T mean_of_gx, T* to) {
    const Normalizer<Lanes<T>, form> xhat(a.row);
    const Lanes<T> mean_g = Lanes<T>::broadcast(mean_of_g), mean_gx = Lanes<T>::broadcast(mean_of_gx);
    for (int64_t p = 0; p < a.planes; ++p) {
      const T *x = a.x + p * a.stride, *dout = from + p * a.stride;
      T* dx = to + p * a.stride;
      const Lanes<T> weight = Lanes<T>::broadcast(a.weight_of(p));
      for_lanes(a.size, [&](int64_t i, int64_t n) {
        const Lanes<T> g = load_lanes(dout + i, n) * weight;
        store_lanes(xhat.gradient(g, mean_g, xhat(load_lanes(x + i, n)), mean_gx), dx + i, n);
      });
    }
  }

  template <class T>
  static void constant_gradient(const Planes<T>& a, const T* from, T* to) {
    const Lanes<T> rstd = Lanes<T>::broadcast(a.row.rstd), scale = Lanes<T>::broadcast(a.row.scale);
    for (int64_t p = 0; p < a.planes; ++p) {
      const T* dout = from + p * a.stride;
      T* dx = to + p * a.stride;
      const Lanes<T> weight = Lanes<T>::broadcast(a.weight_of(p));
      for_lanes(a.size, [&](int64_t i, int64_t n) {
        store_lanes((rstd * (load_lanes(dout + i, n) * weight)) * scale, dx + i, n);
      });
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
