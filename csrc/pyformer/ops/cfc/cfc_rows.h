// cfc's kernels over V, a scalar for cfc_ref.cpp and cfc_cuda.cu and a register for cfc_cpu.cpp: n elements of row b
// from j on. There are no sums in them.
#pragma once
#include "pyformer/base/math.h"
#include "pyformer/base/strips.h"
#include "pyformer/ops/cfc/cfc_kernels.h"

namespace pyformer::PF_ISA {

template <Real V>
PF_INLINE V minus_elapsed(const StepRows& elapsed, int64_t b) {
  using T = Element<V>;
  return splat<V>(elapsed.data ? -*elapsed.row<T>(b) : T(-1));
}

template <Real V>
PF_INLINE void cfc_forward_strip(const CfcForward& a, int64_t b, int64_t j, int64_t n) {
  using T = Element<V>;
  const int64_t H = a.hidden;
  const T* recurrent = a.recurrent.row<T>(b);
  T *gates = a.gates.row<T>(b), *h = a.h.row<T>(b);
  const V rate = minus_elapsed<V>(a.elapsed, b);
  const auto sum = [&](int64_t gate) {
    return load_strip<V>(gates + gate * H + j, n) + load_strip<V>(recurrent + gate * H + j, n);
  };
  const V s = sigmoid(sum(0) * rate), g = tanh(sum(1)), k = tanh(sum(2));
  store_strip(s, gates + j, n);
  store_strip(g, gates + H + j, n);
  store_strip(k, gates + 2 * H + j, n);
  store_strip(fma(s, g - k, k), h + j, n);
}

// With dh = dout + dh of later steps
//   (1) df  = dh (g - k) s (1 - s) (-d_t)    (2) dg' = dh s (1 - g^2)    (3) dk' = dh (1 - s) (1 - k^2)
template <Real V>
PF_INLINE void cfc_backward_strip(const CfcBackward& a, int64_t b, int64_t j, int64_t n) {
  using T = Element<V>;
  const int64_t H = a.hidden;
  const V one = splat<V>(1);
  const T *gates = a.gates.row<T>(b), *dout = a.dout.row<T>(b), *dh_later = a.dh.row<T>(b);
  T* dgates = a.dgates.row<T>(b);
  const V rate = minus_elapsed<V>(a.elapsed, b);
  const V s = load_strip<V>(gates + j, n), g = load_strip<V>(gates + H + j, n);
  const V k = load_strip<V>(gates + 2 * H + j, n);
  const V dh = load_strip<V>(dout + j, n) + load_strip<V>(dh_later + j, n);
  store_strip(((dh * (g - k)) * (s * (one - s))) * rate, dgates + j, n);   // (1)
  store_strip((dh * s) * fma(-g, g, one), dgates + H + j, n);              // (2)
  store_strip((dh * (one - s)) * fma(-k, k, one), dgates + 2 * H + j, n);  // (3)
}

template <Real V>
static void cfc_forward_rows(const CfcForward& args, int64_t begin, int64_t end) {
  const CfcForward a = args;  // stays in registers whatever is stored
  for (int64_t b = begin; b < end; ++b)
    for_each_strip<V>(0, a.hidden, [&](int64_t j, int64_t n) { cfc_forward_strip<V>(a, b, j, n); });
}
template <Real V>
static void cfc_backward_rows(const CfcBackward& args, int64_t begin, int64_t end) {
  const CfcBackward a = args;  // stays in registers whatever is stored
  for (int64_t b = begin; b < end; ++b)
    for_each_strip<V>(0, a.hidden, [&](int64_t j, int64_t n) { cfc_backward_strip<V>(a, b, j, n); });
}

}  // namespace pyformer::PF_ISA
