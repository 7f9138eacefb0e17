// The walk over time on a device: of each step the product with w_hh and a kernel, queued one after the other. The host
// waits for nothing.
#pragma once
#include "pyformer/cuda/kernel.h"
#include "pyformer/ops/matmul/gemm_kernels.h"
#include "pyformer/ops/recurrent/step_rows.h"

namespace pyformer::cuda {

// c (B, n) = a (B, k) op(w_hh) + bias, added to what c holds if `add`.
inline void multiply_step(const RecurrentShape& s, DType dtype, const StepRows& a, const void* w_hh, bool transposed,
                          const void* bias, void* c, bool add) {
  const int64_t width = s.gates * s.hidden;
  Gemm g;
  g.dtype = s.rounds ? DType::bfloat16 : dtype;
  g.wide_c = s.rounds;
  g.m = s.batch;
  g.n = transposed ? width : s.hidden;
  g.k = transposed ? s.hidden : width;
  g.a = {a.data, a.stride, false, 0, s.rounds};
  g.b = {w_hh, s.hidden, transposed, 0, s.rounds};
  g.c = c;
  g.c_stride = g.n;
  g.epilogue.bias = bias;
  g.epilogue.residual = add ? c : nullptr;
  cuda_table<GemmTable>().multiply[g.dtype](g);
}

// Step::at(args, row, j) for each element of (B, hidden).
template <class Step>
struct StepElement {
  struct Args {
    typename Step::Args step;
    int64_t hidden;
  };
  static DEVICE void at(const Args& a, int64_t i) {
    const Divided d = divided(i, a.hidden);
    Step::at(a.step, d.quotient, d.rest);
  }
};
template <class Step>
void start_step(const RecurrentShape& s, const typename Step::Args& args) {
  start_items<StepElement<Step>>({args, s.hidden}, s.batch * s.hidden);
}

template <class T>
StepRows step_of(void* values, const RecurrentShape& s, int64_t t, int64_t n) {
  return step_rows(values, s, t, n, DTypeOf<T>::value);
}
// Of states (B, T, H): that before the step at t, which is `first` (B, H) for the first step.
template <class T>
StepRows state_before(void* states, void* first, const RecurrentShape& s, int64_t t) {
  if (t == s.time(0)) return {first, s.hidden};
  return step_of<T>(states, s, s.reverse ? t + 1 : t - 1, s.hidden);
}

// Forward: cell(t, h_{t-1}, recurrent (B, G H)) queues what writes step t of out (B, T, H).
template <class T, class Walk, class Cell>
void recur(const Walk& a, const Cell& cell) {
  const RecurrentShape& s = a.s;
  const int64_t width = s.gates * s.hidden;
  const Scratch recurrent(s.batch * width * int64_t(sizeof(T)));
  for (int64_t step = 0; step < s.steps; ++step) {
    const StepRows previous = state_before<T>(a.out, a.h0, s, s.time(step));
    multiply_step(s, a.dtype, previous, a.w_hh, true, a.b_hh, recurrent.data(), false);
    cell(s.time(step), previous, StepRows{recurrent.data(), width});
  }
}

// Backward: cell(t) queues what reads dh (B, H) and writes step t of dgates (B, T, G H); dh then becomes
// dgates_t w_hh, added to what the cell left there if `carries`.
template <class T, class Walk, class Cell>
void recur_backward(const Walk& a, void* dgates, bool carries, const Cell& cell) {
  const RecurrentShape& s = a.s;
  for (int64_t step = s.steps - 1; step >= 0; --step) {
    const int64_t t = s.time(step);
    cell(t);
    multiply_step(s, a.dtype, step_of<T>(dgates, s, t, s.gates * s.hidden), a.w_hh, false, nullptr, a.dh, carries);
  }
}

}  // namespace pyformer::cuda
