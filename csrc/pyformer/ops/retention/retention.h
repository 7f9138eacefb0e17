// retention: RetNet's sequence mixing (Sun et al. 2023, "Retentive Network", eq. 6), per head with decay g:
//
//   S_t = g S_{t-1} + k_t^T v_t,   out_t = q_t S_t
//
// q, k (B, T, H, D), v (B, T, H, Dv), decay (H,) in (0, 1], which has no gradient; state (B, H, D, Dv) or absent:
// zeros. Returns out (B, T, H, Dv) and the state after the last token. Nothing is of size (T, T).
//
// Computed as it stands here, token by token, in registers: a state is all that the past leaves, so a sequence in any
// parts, each from the state that the one before returned, has the bits of the whole, and no token sees a later one,
// not even its NaN. A token costs 3 D Dv multiplications and additions, about as many as the products of 64 tokens'
// scores and states cost, which is what the paper's chunks are for.
// S and all sums are float64, whatever q's dtype: with a decay near 1 a state is a long running sum. Outputs and
// gradients are rounded once (gradients of 16-bit floats to float32); the state is returned as it is, since a rounded
// one would not continue as the whole does. A state given is float64, or of q's dtype or its accumulator.
// Saved for backward: q, k, v and the state given; each gradient is a walk of the same kind.
// Order of sums: retention_ref.cpp.
#pragma once
#include "pyformer/core/tensor.h"

namespace pyformer {

struct RetentionResult {
  Array out, state;
};
RetentionResult retention_forward(const Array& q, const Array& k, const Array& v, const Array& decay,
                                  const Array& state);

struct RetentionGradient {
  Array dq, dk, dv, dstate;
};
RetentionGradient retention_backward(const Array& dout, const Array& dlast, const Array& q, const Array& k,
                                     const Array& v, const Array& decay, const Array& state);

// {out, state}
std::vector<Tensor> retention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& decay,
                              const Tensor& state);

}  // namespace pyformer
