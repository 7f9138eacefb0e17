// What the recurrent ops (lstm, gru, cfc) share: the walk over time. G is the number of gates.
//
//   inputs     x w_ih^T + b_ih            all steps in one product, before the walk
//   recurrent  h_{t-1} w_hh^T + b_hh      one product a step, w_hh packed once
//   h_t        cell(inputs_t, recurrent)
//
// x (B, T, C), w_ih (G H, C), w_hh (G H, H), b_ih and b_hh (G H,) or absent, h0 (B, H) or absent: zeros.
// 16-bit operands are widened first: the walk is in their accumulator, out is rounded once. Last states are returned in
// the accumulator, since a rounded one would not continue as the whole does; one given is of either dtype.
// Rows are independent: a task walks many steps with some of them, so threads seldom wait for each other.
// In mixed precision each product rounds its operands, h_{t-1} and the gradient of the gates among them, to bfloat16.
// dw_hh is one product over all rows and steps with h_{t-1}; sums are matmul's and linear's.
#pragma once
#include "pyformer/core/tensor.h"
#include "pyformer/ops/recurrent/step_rows.h"

namespace pyformer {

struct RecurrentOperands {
  Array x, w_ih, w_hh, b_ih, b_hh, h0;
  bool rounds = false;  // all products round their float32 operands to bfloat16: mixed precision (core/precision.h)
};
// What `rounds` is for an op on x that begins now.
bool rounds_products(const Tensor& x);
// The dtype of the operands of the products over all steps.
DType products_dtype(const RecurrentOperands& in);

// For each row, how many of its tokens count. An empty list: all tokens of all rows.
using Lengths = std::vector<int64_t>;

// Checks everything; ValueError or TypeError that starts with the op's name.
RecurrentShape check_recurrent(const char* op, const RecurrentOperands& in, int64_t gates, bool reverse);
void check_state(const char* op, const char* which, const Array& state, const Array& x, int64_t hidden);

// The array in the accumulator's dtype. wide() gives the array itself if it has that
// dtype or is undefined, wide_copy() always gives memory of its own.
Array wide(const Array& array);
Array wide_copy(const Array& array);
RecurrentOperands wide(const RecurrentOperands& in);

// state, or zeros (B, H) like x where absent.
Array state_or_zeros(const Array& state, const RecurrentShape& s, const Array& x);
// Step t of a (B, T, n) array as (B, n).
Array step_copy(const Array& array, int64_t t);
// ValueError unless each row has a length, from 1 to T, and the walk is not reversed.
void check_lengths(const char* op, const Lengths& lengths, const RecurrentShape& s);
// (B, H): the last state of each row, of states (B, T, H).
Array last_states(const Array& states, const Lengths& lengths, const RecurrentShape& s);
// (B, T, H): h_{t-1} for each t, in the direction of the walk.
Array previous_states(const Array& out, const Array& h0, const RecurrentShape& s);

}  // namespace pyformer
