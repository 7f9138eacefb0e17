// rms_norm, vector code for one instruction set: a row at a time, its sums over sixteen lanes.
// Formulas and summation order are those of rms_norm_ref.cpp, term by term. Source: Zhang, Sennrich 2019, eq. 4.
#include "pyformer/ops/rms_norm/rms_norm_kernels.h"

#include "pyformer/base/norm.h"
#include "pyformer/base/write.h"

namespace pyformer::PF_ISA {

template <class T>
static NormRow<T> statistics_of(const T* x, int64_t C, double eps) {
  return in_fitting_units<T>(
             eps, [&](T scale) { return rms_statistics(scale, sum_squares(x, C, scale) / T(C), eps); },
             [&] { return lanes_largest(x, C, T(0)); })
      .row;
}

template <class T, bool has_weight>
static void forward_rows(const RmsNormForward& a, int64_t begin, int64_t end) {
  const int64_t C = a.cols;
  const T* weight = static_cast<const T*>(a.weight);
  for (int64_t row = begin; row < end; ++row) {
    const T* x = static_cast<const T*>(a.x) + row * C;
    T* out = static_cast<T*>(a.out) + row * C;
    const NormRow<T> statistics = statistics_of(x, C, a.eps);
    with_form<NormForm::rms>(statistics, [&]<NormForm form>() {
      const Normalizer<Vec<T>, form> normalizer(statistics);
      write_row(out, C, a.nontemporal, [&](int64_t i, int64_t n) {
        const Vec<T> xhat = normalizer(load_vec(x + i, n));
        if constexpr (has_weight)
          return xhat * load_vec(weight + i, n);
        else
          return xhat;
      });
    });
    static_cast<NormRow<T>*>(a.statistics)[row] = statistics;
  }
  if (a.nontemporal) nontemporal_fence();
}

template <class T>
static void forward(const RmsNormForward& a, int64_t begin, int64_t end) {
  if (a.weight)
    forward_rows<T, true>(a, begin, end);
  else
    forward_rows<T, false>(a, begin, end);
}

// One pass over a row adds its terms of dweight and takes the row mean; a second writes dx.
template <class T, NormForm form>
static void backward_row(const RmsNormBackward& a, int64_t row, T* dweight) {
  const int64_t C = a.cols;
  const T* weight = static_cast<const T*>(a.weight);
  const T* dout = static_cast<const T*>(a.dout) + row * C;
  const T* x = static_cast<const T*>(a.x) + row * C;
  const NormRow<T>& statistics = static_cast<const NormRow<T>*>(a.statistics)[row];
  const Normalizer<Lanes<T>, form> normalizer(statistics);
  const T mean_gx = lanes_reduce<T>(C,
                                    [&](int64_t i, int64_t n, const Lanes<T>& sum) {
                                      const Lanes<T> d = load_lanes(dout + i, n);
                                      const Lanes<T> xhat = normalizer(load_lanes(x + i, n));
                                      if (dweight)
                                        store_lanes(fma(d, xhat, load_lanes(dweight + i, n)), dweight + i, n);  // (2)
                                      return fma(weight ? d * load_lanes(weight + i, n) : d, xhat, sum);
                                    }) /
                    T(C);
  if (!a.dx) return;
  T* dx = static_cast<T*>(a.dx) + row * C;
  const Vec<T> mean = Vec<T>::broadcast(mean_gx);
  const Normalizer<Vec<T>, form> narrow(statistics);
  write_row(dx, C, a.nontemporal, [&](int64_t i, int64_t n) {
    const Vec<T> d = load_vec(dout + i, n);
    const Vec<T> g = weight ? d * load_vec(weight + i, n) : d;
    return narrow.gradient(g, narrow(load_vec(x + i, n)), mean);  // (1)
  });
}

template <class T>
static void backward(const RmsNormBackward& a, int64_t begin, int64_t end) {
  const int64_t C = a.cols;
  for (int64_t chunk = begin; chunk < end; ++chunk) {
    T* dweight = a.dweight ? static_cast<T*>(a.dweight) + chunk * C : nullptr;
    for (int64_t c = 0; dweight && c < C; ++c) dweight[c] = T(0);
    const int64_t last = (chunk + 1) * a.kRowChunk < a.rows ? (chunk + 1) * a.kRowChunk : a.rows;
    for (int64_t row = chunk * a.kRowChunk; row < last; ++row)
      with_form<NormForm::rms>(static_cast<const NormRow<T>*>(a.statistics)[row],
                               [&]<NormForm form>() { backward_row<T, form>(a, row, dweight); });
  }
  if (a.nontemporal) nontemporal_fence();
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const RmsNormTable& KernelsOf<RmsNormTable, PF_ISA::kIsa>::table() {
  static constexpr RmsNormTable table = {{{PF_ISA::forward<float>, PF_ISA::forward<double>}},
                                         {{PF_ISA::backward<float>, PF_ISA::backward<double>}}};
  return table;
}
}  // namespace pyformer
