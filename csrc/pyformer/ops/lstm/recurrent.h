// What the recurrent ops (lstm, gru, cfc) share: the walk over time. G is the number of gates.
//
//   inputs     x w_ih^T + b_ih            all steps in one product, before the walk
//   recurrent  h_{t-1} w_hh^T + b_hh      one product a step, w_hh packed once
//   h_t        cell(inputs_t, recurrent)
//
// x (B, T, C), w_ih (G H, C), w_hh (G H, H), b_ih and b_hh (G H,) or absent, h0 (B, H) or absent: zeros.
// Rows are independent: a task walks many steps with some of them, so threads seldom wait for each other.
// dw_hh is one product over all rows and steps with h_{t-1}; sums are matmul's and linear's.
#pragma once
#include <algorithm>
#include <optional>

#include "pyformer/base/thread_pool.h"
#include "pyformer/core/tensor.h"
#include "pyformer/ops/lstm/recurrent_kernels.h"
#include "pyformer/ops/matmul/gemm.h"

namespace pyformer {

struct RecurrentShape {
  int64_t batch, steps, hidden, gates;
  bool reverse;
  int64_t time(int64_t step) const { return reverse ? steps - 1 - step : step; }
};

struct RecurrentOperands {
  Array x, w_ih, w_hh, b_ih, b_hh, h0;
};

// Checks everything; ValueError or TypeError that starts with the op's name.
RecurrentShape check_recurrent(const char* op, const RecurrentOperands& in, int64_t gates, bool reverse);
void check_state(const char* op, const char* which, const Array& state, const Array& x, int64_t hidden);

// state, or zeros (B, H) where absent.
Array state_or_zeros(const Array& state, const RecurrentShape& s, DType dtype);
// Step t of a (B, T, n) array: a view for kernels, and a copy (B, n).
StepRows step_rows(const Array& array, int64_t t);
Array step_copy(const Array& array, int64_t t);
// (B, T, H): h_{t-1} for each t, in the direction of the walk.
Array previous_states(const Array& out, const Array& h0, const RecurrentShape& s);

// w_hh as the right operand of the product of a step, packed where the steps pay for it.
class RecurrentWeight {
 public:
  RecurrentWeight(const Array& w_hh, bool transposed, int64_t steps);
  // c (rows, n) = a (rows, k) op(w_hh) + bias, added to what c holds if `add`.
  void multiply(const StepRows& a, int64_t begin, int64_t end, const Array& bias, const Array& c, bool add) const;

 private:
  Operand operand_;
  int64_t n_, k_;
  DType dtype_;
  std::optional<PackedMatrix> packed_;
};

// Calls walk(begin, end, first, last) for pieces of the work: rows [begin, end) at the steps [first, last) of the walk,
// few enough steps that a busy neighbour or Ctrl-C waits some milliseconds.
template <class Walk>
void for_pieces(const RecurrentShape& s, const Walk& walk) {
  constexpr int64_t kLeastRows = 8;  // fewer rows read the weights as often and use less of each read
  constexpr int64_t kProducts = int64_t(1) << 28;
  const int64_t rows = std::max(kLeastRows, (s.batch + num_threads() - 1) / num_threads());
  const int64_t steps = std::max<int64_t>(1, kProducts / (rows * s.gates * s.hidden * s.hidden));
  for (int64_t first = 0; first < s.steps; first += steps)
    parallel_for(s.batch, rows,
                 [&](int64_t begin, int64_t end) { walk(begin, end, first, std::min(s.steps, first + steps)); });
}

// Forward: cell(t, h_{t-1}, recurrent (B, G H), begin, end) writes step t of out.
template <class Cell>
void recur(const RecurrentShape& s, const Array& out, const Array& h0, const Array& w_hh, const Array& b_hh,
           const Cell& cell) {
  const RecurrentWeight weight(w_hh, true, s.steps);
  const Array recurrent = Array::empty({s.batch, s.gates * s.hidden}, out.dtype());
  const StepRows first = {h0.raw(), s.hidden};
  for_pieces(s, [&](int64_t begin, int64_t end, int64_t from, int64_t to) {
    for (int64_t step = from; step < to; ++step) {
      const StepRows previous = step ? step_rows(out, s.time(step - 1)) : first;
      weight.multiply(previous, begin, end, b_hh, recurrent, false);
      cell(s.time(step), previous, recurrent, begin, end);
    }
  });
}

// Backward: cell(t, step, begin, end) reads dh (B, H), the gradient of h_t from later steps, and writes step t of
// dgates (B, T, G H); dh then becomes dgates_t w_hh, added to what the cell left there if `carries`.
template <class Cell>
void recur_backward(const RecurrentShape& s, const Array& dgates, const Array& w_hh, const Array& dh, bool carries,
                    const Cell& cell) {
  const RecurrentWeight weight(w_hh, false, s.steps);
  for_pieces(s, [&](int64_t begin, int64_t end, int64_t from, int64_t to) {
    for (int64_t step = s.steps - 1 - from; step > s.steps - 1 - to; --step) {
      const int64_t t = s.time(step);
      cell(t, step, begin, end);
      weight.multiply(step_rows(dgates, t), begin, end, {}, dh, carries);
    }
  });
}

}  // namespace pyformer
