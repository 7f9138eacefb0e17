// lstm's kernels over V, a scalar for lstm_ref.cpp and lstm_cuda.cu and a register for lstm_cpu.cpp: n elements of row
// b from j on. There are no sums in them.
#pragma once
#include "pyformer/base/math.h"
#include "pyformer/base/strips.h"
#include "pyformer/ops/lstm/lstm_kernels.h"

namespace pyformer::PF_ISA {

template <Real V>
PF_INLINE void lstm_forward_strip(const LstmForward& a, int64_t b, int64_t j, int64_t n) {
  using T = Element<V>;
  const int64_t H = a.hidden;
  const T* recurrent = a.recurrent.row<T>(b);
  const T* c_previous = a.c_previous.row<T>(b);
  T *gates = a.gates.row<T>(b), *c = a.c.row<T>(b), *h = a.h.row<T>(b);
  const auto sum = [&](int64_t gate) {
    return load_strip<V>(gates + gate * H + j, n) + load_strip<V>(recurrent + gate * H + j, n);
  };
  const V i = sigmoid(sum(0)), f = sigmoid(sum(1)), g = tanh(sum(2)), o = sigmoid(sum(3));
  const V cell = fma(f, load_strip<V>(c_previous + j, n), i * g);
  store_strip(i, gates + j, n);
  store_strip(f, gates + H + j, n);
  store_strip(g, gates + 2 * H + j, n);
  store_strip(o, gates + 3 * H + j, n);
  store_strip(cell, c + j, n);
  store_strip(o * tanh(cell), h + j, n);
}

// With dh = dout + dh of later steps, s = tanh(c_t), and dc' = dc of later steps + dh o (1 - s^2)
//   (1) di = dc' g       i (1 - i)       (3) dg = dc' i (1 - g^2)
//   (2) df = dc' c_{t-1} f (1 - f)       (4) do = dh s o (1 - o)
//   (5) dc = dc' f
template <Real V>
PF_INLINE void lstm_backward_strip(const LstmBackward& a, int64_t b, int64_t j, int64_t n) {
  using T = Element<V>;
  const int64_t H = a.hidden;
  const V one = splat<V>(1);
  const T *gates = a.gates.row<T>(b), *c_previous = a.c_previous.row<T>(b), *c = a.c.row<T>(b);
  const T *dout = a.dout.row<T>(b), *dh_later = a.dh.row<T>(b);
  T *dc = a.dc.row<T>(b), *dgates = a.dgates.row<T>(b);
  const V i = load_strip<V>(gates + j, n), f = load_strip<V>(gates + H + j, n);
  const V g = load_strip<V>(gates + 2 * H + j, n), o = load_strip<V>(gates + 3 * H + j, n);
  const V dh = load_strip<V>(dout + j, n) + load_strip<V>(dh_later + j, n);
  const V s = tanh(load_strip<V>(c + j, n));
  const V dcell = fma(dh * o, fma(-s, s, one), load_strip<V>(dc + j, n));
  const V previous = load_strip<V>(c_previous + j, n);
  store_strip((dcell * g) * (i * (one - i)), dgates + j, n);             // (1)
  store_strip((dcell * previous) * (f * (one - f)), dgates + H + j, n);  // (2)
  store_strip((dcell * i) * fma(-g, g, one), dgates + 2 * H + j, n);     // (3)
  store_strip((dh * s) * (o * (one - o)), dgates + 3 * H + j, n);        // (4)
  store_strip(dcell * f, dc + j, n);                                     // (5)
}

template <Real V>
static void lstm_forward_rows(const LstmForward& args, int64_t begin, int64_t end) {
  const LstmForward a = args;  // stays in registers whatever is stored
  for (int64_t b = begin; b < end; ++b)
    for_each_strip<V>(0, a.hidden, [&](int64_t j, int64_t n) { lstm_forward_strip<V>(a, b, j, n); });
}
template <Real V>
static void lstm_backward_rows(const LstmBackward& args, int64_t begin, int64_t end) {
  const LstmBackward a = args;  // stays in registers whatever is stored
  for (int64_t b = begin; b < end; ++b)
    for_each_strip<V>(0, a.hidden, [&](int64_t j, int64_t n) { lstm_backward_strip<V>(a, b, j, n); });
}

}  // namespace pyformer::PF_ISA
