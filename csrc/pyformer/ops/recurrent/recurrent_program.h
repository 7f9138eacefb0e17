// The walk over time, for the programs of the CPU's set isa.
#pragma once
#include <algorithm>
#include <optional>

#include "pyformer/base/thread_pool.h"
#include "pyformer/base/workspace.h"
#include "pyformer/ops/matmul/gemm.h"
#include "pyformer/ops/recurrent/step_rows.h"

namespace pyformer {

// w_hh (G H, H) as the right operand of the product of a step, packed where the steps pay for it.
class RecurrentWeight {
 public:
  RecurrentWeight(Isa isa, const void* w_hh, const RecurrentShape& s, bool transposed, DType dtype);
  // c (rows, n) = a (rows, k) op(w_hh) + bias, added to what c holds if `add`.
  void multiply(const StepRows& a, int64_t begin, int64_t end, const void* bias, void* c, bool add) const;

 private:
  Isa isa_;
  Operand operand_;
  int64_t n_, k_;
  DType dtype_;
  bool rounds_;
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

// Forward: cell(t, h_{t-1}, recurrent (B, G H), begin, end) writes step t of out (B, T, H).
template <class Cell>
void recur(Isa isa, const RecurrentShape& s, DType dtype, void* out, void* h0, const void* w_hh, const void* b_hh,
           const Cell& cell) {
  const RecurrentWeight weight(isa, w_hh, s, true, dtype);
  const int64_t width = s.gates * s.hidden;
  const Workspace recurrent(s.batch * width * item_bytes(dtype));
  for_pieces(s, [&](int64_t begin, int64_t end, int64_t from, int64_t to) {
    for (int64_t step = from; step < to; ++step) {
      const StepRows previous = step ? step_rows(out, s, s.time(step - 1), s.hidden, dtype) : StepRows{h0, s.hidden};
      weight.multiply(previous, begin, end, b_hh, recurrent.data(), false);
      cell(s.time(step), previous, StepRows{recurrent.data(), width}, begin, end);
    }
  });
}

// Backward: cell(t, step, begin, end) reads dh (B, H), the gradient of h_t from later steps, and writes step t of
// dgates (B, T, G H); dh then becomes dgates_t w_hh, added to what the cell left there if `carries`.
template <class Cell>
void recur_backward(Isa isa, const RecurrentShape& s, DType dtype, void* dgates, const void* w_hh, void* dh,
                    bool carries, const Cell& cell) {
  const RecurrentWeight weight(isa, w_hh, s, false, dtype);
  for_pieces(s, [&](int64_t begin, int64_t end, int64_t from, int64_t to) {
    for (int64_t step = s.steps - 1 - from; step > s.steps - 1 - to; --step) {
      const int64_t t = s.time(step);
      cell(t, step, begin, end);
      weight.multiply(step_rows(dgates, s, t, s.gates * s.hidden, dtype), begin, end, nullptr, dh, carries);
    }
  });
}

}  // namespace pyformer
