// gru's kernels over V, a scalar for gru_ref.cpp and gru_cuda.cu and a register for gru_cpu.cpp: n elements of row b
// from j on. There are no sums in them.
#pragma once
#include "pyformer/base/math.h"
#include "pyformer/base/strips.h"
#include "pyformer/ops/gru/gru_kernels.h"

namespace pyformer::PF_ISA {

template <Real V>
PF_INLINE void gru_forward_strip(const GruForward& a, int64_t b, int64_t j, int64_t n) {
  using T = Element<V>;
  const int64_t H = a.hidden;
  const T *v = a.recurrent.row<T>(b), *h_previous = a.h_previous.row<T>(b);
  T *gates = a.gates.row<T>(b), *candidates = a.candidates.row<T>(b), *h = a.h.row<T>(b);
  const V r = sigmoid(load_strip<V>(gates + j, n) + load_strip<V>(v + j, n));
  const V z = sigmoid(load_strip<V>(gates + H + j, n) + load_strip<V>(v + H + j, n));
  const V v_new = load_strip<V>(v + 2 * H + j, n);
  const V fresh = tanh(fma(r, v_new, load_strip<V>(gates + 2 * H + j, n)));
  store_strip(r, gates + j, n);
  store_strip(z, gates + H + j, n);
  store_strip(fresh, gates + 2 * H + j, n);
  store_strip(v_new, candidates + j, n);
  store_strip(fma(z, load_strip<V>(h_previous + j, n) - fresh, fresh), h + j, n);
}

// With d = dout + dh of later steps
//   (1) du_n = d (1 - z) (1 - n^2)              (4) dv_r, dv_z = du_r, du_z;  dv_n = du_n r
//   (2) du_z = d (h_{t-1} - n) z (1 - z)        (5) dh = d z, to which the walk adds dv w_hh
//   (3) du_r = du_n v_n r (1 - r)
template <Real V>
PF_INLINE void gru_backward_strip(const GruBackward& a, int64_t b, int64_t j, int64_t n) {
  using T = Element<V>;
  const int64_t H = a.hidden;
  const V one = splat<V>(1);
  const T *gates = a.gates.row<T>(b), *candidates = a.candidates.row<T>(b);
  const T *h_previous = a.h_previous.row<T>(b), *dout = a.dout.row<T>(b);
  T *dh = a.dh.row<T>(b), *du = a.du.row<T>(b), *dv = a.dv.row<T>(b);
  const V r = load_strip<V>(gates + j, n), z = load_strip<V>(gates + H + j, n);
  const V fresh = load_strip<V>(gates + 2 * H + j, n);
  const V d = load_strip<V>(dout + j, n) + load_strip<V>(dh + j, n);
  const V du_n = (d * (one - z)) * fma(-fresh, fresh, one);                           // (1)
  const V du_z = (d * (load_strip<V>(h_previous + j, n) - fresh)) * (z * (one - z));  // (2)
  const V du_r = (du_n * load_strip<V>(candidates + j, n)) * (r * (one - r));         // (3)
  store_strip(du_r, du + j, n);
  store_strip(du_z, du + H + j, n);
  store_strip(du_n, du + 2 * H + j, n);
  store_strip(du_r, dv + j, n);  // (4)
  store_strip(du_z, dv + H + j, n);
  store_strip(du_n * r, dv + 2 * H + j, n);
  store_strip(d * z, dh + j, n);  // (5)
}

template <Real V>
static void gru_forward_rows(const GruForward& args, int64_t begin, int64_t end) {
  const GruForward a = args;  // stays in registers whatever is stored
  for (int64_t b = begin; b < end; ++b)
    for_each_strip<V>(0, a.hidden, [&](int64_t j, int64_t n) { gru_forward_strip<V>(a, b, j, n); });
}
template <Real V>
static void gru_backward_rows(const GruBackward& args, int64_t begin, int64_t end) {
  const GruBackward a = args;  // stays in registers whatever is stored
  for (int64_t b = begin; b < end; ++b)
    for_each_strip<V>(0, a.hidden, [&](int64_t j, int64_t n) { gru_backward_strip<V>(a, b, j, n); });
}

}  // namespace pyformer::PF_ISA
