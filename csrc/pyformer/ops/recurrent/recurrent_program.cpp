#include "pyformer/ops/recurrent/recurrent_program.h"

namespace pyformer {

// Rows of n numbers, `stride` apart, to rows side by side.
static void round_rows(const float* from, int64_t rows, int64_t n, int64_t stride, BFloat16* to) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < n; ++j) to[i * n + j] = to_bfloat16(from[i * stride + j]);
}

RecurrentWeight::RecurrentWeight(Isa isa, const void* w_hh, const RecurrentShape& s, bool transposed, DType dtype)
    : isa_(isa),
      operand_{w_hh, s.hidden, transposed},
      n_(transposed ? s.gates * s.hidden : s.hidden),
      k_(transposed ? s.hidden : s.gates * s.hidden),
      dtype_(dtype),
      rounds_(s.rounds) {
  if (rounds_) {
    rounded_.emplace(k_ * n_ * item_bytes(DType::bfloat16));
    round_rows(static_cast<const float*>(w_hh), 1, k_ * n_, 0, static_cast<BFloat16*>(rounded_->data()));
    operand_.data = rounded_->data();
  }
  constexpr int64_t kPackFrom = 4;  // packing reads and writes the weights once
  if (s.steps >= kPackFrom) packed_.emplace(operand_, k_, n_, rounds_ ? DType::bfloat16 : dtype_, isa);
}

void RecurrentWeight::multiply(const StepRows& a, int64_t begin, int64_t end, const void* bias, void* c,
                               bool add) const {
  const int64_t bytes = item_bytes(dtype_);
  Gemm g;
  g.dtype = rounds_ ? DType::bfloat16 : dtype_;
  g.wide_c = rounds_;
  g.m = end - begin;
  g.n = n_;
  g.k = k_;
  g.a = {static_cast<const char*>(a.data) + begin * a.stride * bytes, a.stride, false};
  const Workspace rounded(rounds_ ? g.m * k_ * item_bytes(DType::bfloat16) : 0);
  if (rounds_) {
    round_rows(static_cast<const float*>(g.a.data), g.m, k_, a.stride, static_cast<BFloat16*>(rounded.data()));
    g.a = {rounded.data(), k_, false};
  }
  g.b = operand_;
  if (packed_) g.b_panels = packed_->panels;
  g.c = static_cast<char*>(c) + begin * n_ * bytes;
  g.c_stride = n_;
  g.epilogue.bias = bias;
  g.epilogue.residual = add ? g.c : nullptr;
  gemm(isa_, g);
}

}  // namespace pyformer
