// layer_norm, vector code for one instruction set: a row at a time, its sums over sixteen lanes.
// Formulas and summation order are those of layer_norm_ref.cpp, term by term. Source: Ba, Kiros, Hinton 2016, eq. 4.
#include "pyformer/ops/layer_norm/layer_norm_kernels.h"

#include "pyformer/base/norm.h"
#include "pyformer/base/write.h"

namespace pyformer::PF_ISA {

template <class T>
static RowStatistics<T> statistics_in_units(const T* x, int64_t C, double eps, T scale) {
  const Lanes<T> scales = Lanes<T>::broadcast(scale);
  const T first = x[0] * scale;
  const Lanes<T> minus_first = Lanes<T>::broadcast(-first);
  const T sum = lanes_reduce<T>(C, [&](int64_t i, int64_t n, const Lanes<T>& lanes) {
    return lanes + fma(load_lanes(x + i, n), scales, minus_first);
  });
  const T mean = first + sum / T(C);
  const Lanes<T> minus_mean = Lanes<T>::broadcast(-mean);
  T sums[2];  // of d and of d^2
  lanes_sums(
      C,
      [&](int64_t i, int64_t n, Lanes<T>* lanes) {
        const Lanes<T> d = fma(load_lanes(x + i, n), scales, minus_mean);
        lanes[0] = lanes[0] + d;
        lanes[1] = fma(d, d, lanes[1]);
      },
      sums);
  return row_statistics(scale, mean, sums[0] / T(C), sums[1] / T(C), eps);
}

template <class T>
static NormRow<T> statistics_of(const T* x, int64_t C, double eps) {
  return in_fitting_units<T>(
             eps, [&](T scale) { return statistics_in_units(x, C, eps, scale); },
             [&] { return lanes_largest(x, C, x[0]); })
      .row;
}

template <class T, bool has_weight, bool has_bias>
static void forward_rows(const LayerNormForward& a, int64_t begin, int64_t end) {
  const int64_t C = a.cols;
  const T* weight = static_cast<const T*>(a.weight);
  const T* bias = static_cast<const T*>(a.bias);
  for (int64_t row = begin; row < end; ++row) {
    const T* x = static_cast<const T*>(a.x) + row * C;
    T* out = static_cast<T*>(a.out) + row * C;
    const NormRow<T> statistics = statistics_of(x, C, a.eps);
    with_form<NormForm::centred>(statistics, [&]<NormForm form>() {
      const Normalizer<Vec<T>, form> normalizer(statistics);
      write_row(out, C, a.nontemporal, [&](int64_t i, int64_t n) {
        const Vec<T> xhat = normalizer(load_vec(x + i, n));
        if constexpr (has_weight && has_bias)
          return fma(xhat, load_vec(weight + i, n), load_vec(bias + i, n));
        else if constexpr (has_weight)
          return xhat * load_vec(weight + i, n);
        else if constexpr (has_bias)
          return xhat + load_vec(bias + i, n);
        else
          return xhat;
      });
    });
    static_cast<NormRow<T>*>(a.statistics)[row] = statistics;
  }
  if (a.nontemporal) nontemporal_fence();
}

template <class T>
static void forward(const LayerNormForward& a, int64_t begin, int64_t end) {
  if (a.weight && a.bias) return forward_rows<T, true, true>(a, begin, end);
  if (a.weight) return forward_rows<T, true, false>(a, begin, end);
  if (a.bias) return forward_rows<T, false, true>(a, begin, end);
  forward_rows<T, false, false>(a, begin, end);
}

// One pass over a row adds its terms of dweight and dbias and takes both row means; a second writes dx.
template <class T, NormForm form>
static void backward_row(const LayerNormBackward& a, int64_t row, T* dweight, T* dbias) {
  const int64_t C = a.cols;
  const T* weight = static_cast<const T*>(a.weight);
  const T* dout = static_cast<const T*>(a.dout) + row * C;
  const T* x = static_cast<const T*>(a.x) + row * C;
  const NormRow<T>& statistics = static_cast<const NormRow<T>*>(a.statistics)[row];
  const Normalizer<Lanes<T>, form> normalizer(statistics);
  T sums[2];  // of g and of g * xhat
  lanes_sums(
      C,
      [&](int64_t i, int64_t n, Lanes<T>* lanes) {
        const Lanes<T> d = load_lanes(dout + i, n);
        const Lanes<T> xhat = normalizer(load_lanes(x + i, n));
        if (dweight) store_lanes(fma(d, xhat, load_lanes(dweight + i, n)), dweight + i, n);  // (2)
        if (dbias) store_lanes(load_lanes(dbias + i, n) + d, dbias + i, n);                  // (3)
        const Lanes<T> g = weight ? d * load_lanes(weight + i, n) : d;
        lanes[0] = lanes[0] + g;
        lanes[1] = fma(g, xhat, lanes[1]);
      },
      sums);
  if (!a.dx) return;
  T* dx = static_cast<T*>(a.dx) + row * C;
  const Vec<T> mean_g = Vec<T>::broadcast(sums[0] / T(C)), mean_gx = Vec<T>::broadcast(sums[1] / T(C));
  const Normalizer<Vec<T>, form> narrow(statistics);
  write_row(dx, C, a.nontemporal, [&](int64_t i, int64_t n) {
    const Vec<T> d = load_vec(dout + i, n);
    const Vec<T> g = weight ? d * load_vec(weight + i, n) : d;
    return narrow.gradient(g, mean_g, narrow(load_vec(x + i, n)), mean_gx);  // (1)
  });
}

template <class T>
static void backward(const LayerNormBackward& a, int64_t begin, int64_t end) {
  const int64_t C = a.cols;
  for (int64_t chunk = begin; chunk < end; ++chunk) {
    T* dweight = a.dweight ? static_cast<T*>(a.dweight) + chunk * C : nullptr;
    T* dbias = a.dbias ? static_cast<T*>(a.dbias) + chunk * C : nullptr;
    for (int64_t c = 0; c < C; ++c) {
      if (dweight) dweight[c] = T(0);
      if (dbias) dbias[c] = T(0);
    }
    const int64_t last = (chunk + 1) * a.kRowChunk < a.rows ? (chunk + 1) * a.kRowChunk : a.rows;
    for (int64_t row = chunk * a.kRowChunk; row < last; ++row)
      with_form<NormForm::centred>(static_cast<const NormRow<T>*>(a.statistics)[row],
                                   [&]<NormForm form>() { backward_row<T, form>(a, row, dweight, dbias); });
  }
  if (a.nontemporal) nontemporal_fence();
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const LayerNormTable& KernelsOf<LayerNormTable, PF_ISA::kIsa>::table() {
  static constexpr LayerNormTable table = {{{PF_ISA::forward<float>, PF_ISA::forward<double>}},
                                           {{PF_ISA::backward<float>, PF_ISA::backward<double>}}};
  return table;
}
}  // namespace pyformer
