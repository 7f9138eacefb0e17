// retention: RetNet's sequence mixing (Sun et al. 2023, "Retentive Network", eq. 6 and 7), per head with decay g:
//
//   S_t = g S_{t-1} + k_t^T v_t,   out_t = q_t S_t
//
// which over a chunk of 64 tokens is, with M_ij = g^(i - j) for j <= i and 0 above,
//
//   out  = ((q k^T) * M) v + diag(g^(i + 1)) q S        S the state before the chunk
//   S'   = g^l S + (diag(g^(l - 1 - j)) k)^T v          l tokens in the chunk
//
// q, k (B, T, H, D), v (B, T, H, Dv), decay (H,) in (0, 1], which has no gradient; state (B, H, D, Dv) or absent:
// zeros. Returns out (B, T, H, Dv) and the state after the last token. Nothing is of size (T, T).
// Saved for backward: q, k, v, the state before each chunk; scores are computed again.
// Order of sums: matmul's inside a chunk; chunks in order. Powers of the decay are taken in float64. A task owns a
// (batch, head). Products are matmul's gemm. 16-bit floats are widened first, the results rounded once: the states that
// are saved are float32, and gradients too.
#pragma once
#include "pyformer/core/tensor.h"

namespace pyformer {

struct RetentionResult {
  Array out, state;
  Array states;  // (B, H, chunks + 1, D, Dv): before each chunk, and after the last
};
RetentionResult retention_forward(const Array& q, const Array& k, const Array& v, const Array& decay,
                                  const Array& state);

struct RetentionGradient {
  Array dq, dk, dv, dstate;
};
RetentionGradient retention_backward(const Array& dout, const Array& dstate, const Array& q, const Array& k,
                                     const Array& v, const Array& decay, const Array& states);

// {out, state}
std::vector<Tensor> retention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& decay,
                              const Tensor& state);

}  // namespace pyformer
