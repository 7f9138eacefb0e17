// cfc: a closed-form continuous-time (liquid) cell over whole sequences (Hasani et al. 2022, "Closed-form
// continuous-time neural networks", the solution of a liquid time-constant network with its gates f, g, k). G = 3.
//
//   f, g', k' = x_t w_ih^T + b_ih + h_{t-1} w_hh^T + b_hh,   g = tanh(g'), k = tanh(k')
//   s = sigmoid(-f d_t),   h_t = s g + (1 - s) k
//
// x (B, T, C), w_ih (3 H, C), w_hh (3 H, H), b_ih, b_hh (3 H,) or absent, h0 (B, H) or absent: zeros.
// elapsed (B, T) holds d_t, the time since the observation before; absent: ones. It has no gradient.
// out (B, T, H) holds every h_t, hT (B, H) the last. reverse: from the last token to the first.
// Saved for backward: x, the weights, h0, elapsed, out, and s, g, k. Order of sums: recurrent.h.
#pragma once
#include "pyformer/ops/recurrent/recurrent.h"

namespace pyformer {

struct CfcResult {  // all in the accumulator of the operands' dtype
  Array out, h_last;
  Array gates;  // (B, T, 3 H): s, g, k
};
CfcResult cfc_forward(const RecurrentOperands& in, const Array& elapsed, bool reverse);

struct CfcGradient {
  Array dx, dw_ih, dw_hh, db_ih, db_hh, dh0;  // undefined where not wanted
};
CfcGradient cfc_backward(const Array& dout, const Array& dh_last, const RecurrentOperands& in, const Array& elapsed,
                         bool reverse, const CfcResult& r, const Needs& need);

// {out, hT}
std::vector<Tensor> cfc(const Tensor& x, const Tensor& w_ih, const Tensor& w_hh, const Tensor& b_ih, const Tensor& b_hh,
                        const Tensor& elapsed, const Tensor& h0, bool reverse);

}  // namespace pyformer
