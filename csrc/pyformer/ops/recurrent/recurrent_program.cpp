#include "pyformer/ops/recurrent/recurrent_program.h"

namespace pyformer {

RecurrentWeight::RecurrentWeight(Isa isa, const void* w_hh, const RecurrentShape& s, bool transposed, DType dtype)
    : isa_(isa),
      operand_{w_hh, s.hidden, transposed, 0, s.rounds},
      n_(transposed ? s.gates * s.hidden : s.hidden),
      k_(transposed ? s.hidden : s.gates * s.hidden),
      dtype_(dtype),
      rounds_(s.rounds) {
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
  g.a = {static_cast<const char*>(a.data) + begin * a.stride * bytes, a.stride, false, 0, rounds_};
  g.b = operand_;
  if (packed_) g.b_panels = packed_->panels;
  g.c = static_cast<char*>(c) + begin * n_ * bytes;
  g.c_stride = n_;
  g.epilogue.bias = bias;
  g.epilogue.residual = add ? g.c : nullptr;
  gemm(isa_, g);
}

}  // namespace pyformer
