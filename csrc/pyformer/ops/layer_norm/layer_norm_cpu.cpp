// layer_norm, vector code for one instruction set: a row at a time, its sums over sixteen lanes.
// Formulas and summation order are those of layer_norm_ref.cpp, term by term. Source: Ba, Kiros, Hinton 2016, eq. 4.
#include "pyformer/ops/layer_norm/layer_norm_kernels.h"

#include "pyformer/base/reduce.h"
#include "pyformer/base/write.h"

namespace pyformer::PF_ISA {

template <class T, bool has_weight, bool has_bias>
static void forward_rows(const LayerNormForward& a, int64_t begin, int64_t end) {
  const int64_t C = a.cols;
  const T* weight = static_cast<const T*>(a.weight);
  const T* bias = static_cast<const T*>(a.bias);
  for (int64_t row = begin; row < end; ++row) {
    const T* x = static_cast<const T*>(a.x) + row * C;
    T* out = static_cast<T*>(a.out) + row * C;
    const T mean =
        lanes_reduce<T>(C, [&](int64_t i, int64_t n, const Lanes<T>& sum) { return sum + load_lanes(x + i, n); }) /
        T(C);
    const Lanes<T> mean_lanes = Lanes<T>::broadcast(mean);
    const T var = lanes_reduce<T>(C,
                                  [&](int64_t i, int64_t n, const Lanes<T>& sum) {
                                    const Lanes<T> d = n == kLanes
                                                           ? Lanes<T>::load(x + i) - mean_lanes
                                                           : Lanes<T>::load_partial(x + i, n, mean) - mean_lanes;
                                    return fma(d, d, sum);
                                  }) /
                  T(C);
    const T rstd = reciprocal_root(var + T(a.eps));
    const Vec<T> mean_vec = Vec<T>::broadcast(mean), rstd_vec = Vec<T>::broadcast(rstd);
    write_row(out, C, a.nontemporal, [&](int64_t i, int64_t n) {
      const Vec<T> xhat = (load_vec(x + i, n) - mean_vec) * rstd_vec;
      if constexpr (has_weight && has_bias)
        return fma(xhat, load_vec(weight + i, n), load_vec(bias + i, n));
      else if constexpr (has_weight)
        return xhat * load_vec(weight + i, n);
      else if constexpr (has_bias)
        return xhat + load_vec(bias + i, n);
      else
        return xhat;
    });
    static_cast<T*>(a.mean)[row] = mean;
    static_cast<T*>(a.rstd)[row] = rstd;
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
template <class T>
static void backward_row(const LayerNormBackward& a, int64_t row, T* dweight, T* dbias) {
  const int64_t C = a.cols;
  const T* weight = static_cast<const T*>(a.weight);
  const T* dout = static_cast<const T*>(a.dout) + row * C;
  const T* x = static_cast<const T*>(a.x) + row * C;
  const Lanes<T> mean = Lanes<T>::broadcast(static_cast<const T*>(a.mean)[row]);
  const Lanes<T> rstd = Lanes<T>::broadcast(static_cast<const T*>(a.rstd)[row]);
  BlockTree<T> sum_g, sum_gx;
  for (int64_t start = 0; start < C; start += kReduceBlock) {
    const int64_t stop = start + kReduceBlock < C ? start + kReduceBlock : C;
    Lanes<T> lanes_g = Lanes<T>::zero(), lanes_gx = Lanes<T>::zero();
    for (int64_t i = start; i < stop; i += kLanes) {
      const int64_t n = stop - i < kLanes ? stop - i : kLanes;
      const Lanes<T> d = load_lanes(dout + i, n);
      const Lanes<T> xhat = (load_lanes(x + i, n) - mean) * rstd;
      if (dweight) store_lanes(fma(d, xhat, load_lanes(dweight + i, n)), dweight + i, n);  // (2)
      if (dbias) store_lanes(load_lanes(dbias + i, n) + d, dbias + i, n);                  // (3)
      const Lanes<T> g = weight ? d * load_lanes(weight + i, n) : d;
      lanes_g = lanes_g + g;
      lanes_gx = fma(g, xhat, lanes_gx);
    }
    sum_g.add(sum_lanes(lanes_g));
    sum_gx.add(sum_lanes(lanes_gx));
  }
  if (!a.dx) return;
  T* dx = static_cast<T*>(a.dx) + row * C;
  const Vec<T> mean_g = Vec<T>::broadcast(sum_g.total() / T(C));
  const Vec<T> mean_gx = Vec<T>::broadcast(sum_gx.total() / T(C));
  const Vec<T> mean_vec = mean.v[0], rstd_vec = rstd.v[0];
  write_row(dx, C, a.nontemporal, [&](int64_t i, int64_t n) {
    const Vec<T> d = load_vec(dout + i, n);
    const Vec<T> xhat = (load_vec(x + i, n) - mean_vec) * rstd_vec;
    const Vec<T> g = weight ? d * load_vec(weight + i, n) : d;
    return rstd_vec * ((g - mean_g) - xhat * mean_gx);  // (1)
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
    for (int64_t row = chunk * a.kRowChunk; row < last; ++row) backward_row(a, row, dweight, dbias);
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
