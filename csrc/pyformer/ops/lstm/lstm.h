// lstm: a long short-term memory over whole sequences (Hochreiter, Schmidhuber 1997; with the forget gate of Gers,
// Schmidhuber, Cummins 2000). Gates in torch's order i, f, g, o; G = 4.
//
//   i, f, o = sigmoid(.), g = tanh(.)   of  x_t w_ih^T + b_ih + h_{t-1} w_hh^T + b_hh
//   c_t = f c_{t-1} + i g,   h_t = o tanh(c_t)
//
// x (B, T, C), w_ih (4 H, C), w_hh (4 H, H), b_ih, b_hh (4 H,) or absent, h0, c0 (B, H) or absent: zeros.
// out (B, T, H) holds every h_t, hT and cT (B, H) the last. reverse: from the last token to the first; hT and cT then
// belong to token 0. lengths (B), empty for T everywhere and not with reverse: row b's hT and cT are those after
// lengths[b] tokens, out goes on to T. Saved for backward: x, the weights, h0, out, every c_t, the gates.
// Order of sums: recurrent.h.
#pragma once
#include "pyformer/ops/recurrent/recurrent.h"

namespace pyformer {

struct LstmResult {  // all in the accumulator of the operands' dtype
  Array out, h_last, c_last;
  Array gates;  // (B, T, 4 H): i, f, g, o
  Array cells;  // (B, T, H)
};
LstmResult lstm_forward(const RecurrentOperands& in, const Array& c0, bool reverse, const Lengths& lengths = {});

struct LstmGradient {
  Array dx, dw_ih, dw_hh, db_ih, db_hh, dh0, dc0;  // undefined where not wanted
};
LstmGradient lstm_backward(const Array& dout, const Array& dh_last, const Array& dc_last, const RecurrentOperands& in,
                           const Array& c0, bool reverse, const Lengths& lengths, const LstmResult& r,
                           const Needs& need);

// {out, hT, cT}
std::vector<Tensor> lstm(const Tensor& x, const Tensor& w_ih, const Tensor& w_hh, const Tensor& b_ih,
                         const Tensor& b_hh, const Tensor& h0, const Tensor& c0, bool reverse,
                         const Lengths& lengths = {});

}  // namespace pyformer
