// layer_norm and rms_norm, vector code for one instruction set: a row at a time, its sums over sixteen lanes.
// Formulas and summation order are those of norm_ref.cpp, term by term. Sources: Ba, Kiros, Hinton 2016, eq. 4, and
// Zhang, Sennrich 2019, eq. 4.
#include "pyformer/ops/norm/norm_kernels.h"

#include "pyformer/base/norm.h"
#include "pyformer/base/write.h"

namespace pyformer::PF_ISA {

template <class T>
static RowStatistics<T> layer_statistics(const T* x, int64_t C, double eps, T scale) {
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

template <NormForm usual, class T>
static NormRow<T> statistics_of(const T* x, int64_t C, double eps) {
  constexpr bool rms = usual == NormForm::rms;
  const auto take = [&](T scale) {
    if constexpr (rms)
      return rms_statistics(scale, sum_squares(x, C, scale) / T(C), eps);
    else
      return layer_statistics(x, C, eps, scale);
  };
  return in_fitting_units<T>(eps, take, [&] { return lanes_largest(x, C, rms ? T(0) : x[0]); }).row;
}

template <class T, NormForm usual, bool has_weight, bool has_bias>
static void forward_rows(const RowNormForward& a, int64_t begin, int64_t end) {
  const int64_t C = a.cols;
  const T* weight = static_cast<const T*>(a.weight);
  const T* bias = static_cast<const T*>(a.bias);
  for (int64_t row = begin; row < end; ++row) {
    const T* x = static_cast<const T*>(a.x) + row * C;
    T* out = static_cast<T*>(a.out) + row * C;
    const NormRow<T> statistics = statistics_of<usual>(x, C, a.eps);
    with_form<usual>(statistics, [&]<NormForm form>() {
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

template <class T, NormForm usual>
static void forward(const RowNormForward& a, int64_t begin, int64_t end) {
  if constexpr (usual != NormForm::rms) {
    if (a.weight && a.bias) return forward_rows<T, usual, true, true>(a, begin, end);
    if (a.bias) return forward_rows<T, usual, false, true>(a, begin, end);
  }
  if (a.weight) return forward_rows<T, usual, true, false>(a, begin, end);
  forward_rows<T, usual, false, false>(a, begin, end);
}

// One pass over a row adds its terms of dweight and dbias and takes the row means; a second writes dx.
template <class T, NormForm usual, NormForm form>
static void backward_row(const RowNormBackward& a, int64_t row, T* dweight, T* dbias) {
  constexpr bool rms = usual == NormForm::rms;
  constexpr int product = rms ? 0 : 1;
  const int64_t C = a.cols;
  const T* weight = static_cast<const T*>(a.weight);
  const T* dout = static_cast<const T*>(a.dout) + row * C;
  const T* x = static_cast<const T*>(a.x) + row * C;
  const NormRow<T>& statistics = static_cast<const NormRow<T>*>(a.statistics)[row];
  const Normalizer<Lanes<T>, form> normalizer(statistics);
  T sums[product + 1];  // of g, but in rms_norm, and of g * xhat
  lanes_sums(
      C,
      [&](int64_t i, int64_t n, Lanes<T>* lanes) {
        const Lanes<T> d = load_lanes(dout + i, n);
        const Lanes<T> xhat = normalizer(load_lanes(x + i, n));
        if (dweight) store_lanes(fma(d, xhat, load_lanes(dweight + i, n)), dweight + i, n);  // (2)
        if (!rms && dbias) store_lanes(load_lanes(dbias + i, n) + d, dbias + i, n);          // (3)
        const Lanes<T> g = weight ? d * load_lanes(weight + i, n) : d;
        if constexpr (!rms) lanes[0] = lanes[0] + g;
        lanes[product] = fma(g, xhat, lanes[product]);
      },
      sums);
  if (!a.dx) return;
  T* dx = static_cast<T*>(a.dx) + row * C;
  const Vec<T> mean_g = Vec<T>::broadcast(rms ? T(0) : sums[0] / T(C));
  const Vec<T> mean_gx = Vec<T>::broadcast(sums[product] / T(C));
  const Normalizer<Vec<T>, form> narrow(statistics);
  write_row(dx, C, a.nontemporal, [&](int64_t i, int64_t n) {
    const Vec<T> d = load_vec(dout + i, n);
    const Vec<T> g = weight ? d * load_vec(weight + i, n) : d;
    return narrow.gradient(rms ? g : g - mean_g, narrow(load_vec(x + i, n)), mean_gx);  // (1)
  });
}

template <class T, NormForm usual>
static void backward(const RowNormBackward& a, int64_t begin, int64_t end) {
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
      with_form<usual>(static_cast<const NormRow<T>*>(a.statistics)[row],
                       [&]<NormForm form>() { backward_row<T, usual, form>(a, row, dweight, dbias); });
  }
  if (a.nontemporal) nontemporal_fence();
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const RowNormTable& KernelsOf<RowNormTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr RowNormTable table = {{{forward<float, NormForm::centred>, forward<double, NormForm::centred>}},
                                         {{forward<float, NormForm::rms>, forward<double, NormForm::rms>}},
                                         {{backward<float, NormForm::centred>, backward<double, NormForm::centred>}},
                                         {{backward<float, NormForm::rms>, backward<double, NormForm::rms>}}};
  return table;
}
}  // namespace pyformer
