// gru: a gated recurrent unit over whole sequences (Cho et al. 2014, in the form that torch and cuDNN compute, where
// the reset gate acts on the finished recurrent product). Gates in torch's order r, z, n; G = 3.
//
//   u = x_t w_ih^T + b_ih,  v = h_{t-1} w_hh^T + b_hh
//   r = sigmoid(u_r + v_r), z = sigmoid(u_z + v_z), n = tanh(u_n + r v_n)
//   h_t = n + z (h_{t-1} - n)
//
// x (B, T, C), w_ih (3 H, C), w_hh (3 H, H), b_ih, b_hh (3 H,) or absent, h0 (B, H) or absent: zeros.
// out (B, T, H) holds every h_t, hT (B, H) the last. reverse: from the last token to the first; hT then belongs to
// token 0. Saved for backward: x, the weights, h0, out, the gates, every v_n.
// Order of sums: recurrent.h.
#pragma once
#include "pyformer/ops/recurrent/recurrent.h"

namespace pyformer {

struct GruResult {  // all in the accumulator of the operands' dtype
  Array out, h_last;
  Array gates;       // (B, T, 3 H): r, z, n
  Array candidates;  // (B, T, H): v_n
};
GruResult gru_forward(const RecurrentOperands& in, bool reverse);

struct GruGradient {
  Array dx, dw_ih, dw_hh, db_ih, db_hh, dh0;  // undefined where not wanted
};
GruGradient gru_backward(const Array& dout, const Array& dh_last, const RecurrentOperands& in, bool reverse,
                         const GruResult& r, const Needs& need);

// {out, hT}
std::vector<Tensor> gru(const Tensor& x, const Tensor& w_ih, const Tensor& w_hh, const Tensor& b_ih, const Tensor& b_hh,
                        const Tensor& h0, bool reverse);

}  // namespace pyformer
