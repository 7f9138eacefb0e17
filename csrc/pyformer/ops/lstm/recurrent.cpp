#include "pyformer/ops/lstm/recurrent.h"

#include <cstring>

#include "pyformer/base/dispatch.h"

namespace pyformer {

static void check_operand(const char* op, const char* which, const char* letters, const Array& array,
                          const Shape& expected, const Array& x) {
  if (!array.defined()) return;
  if (array.dtype() != x.dtype())
    throw TypeError(cat(op, ": ", which, " must be ", name(x.dtype()), " as x is, got ", name(array.dtype())));
  if (!(array.shape() == expected))
    throw ValueError(cat(op, ": ", which, " must be ", letters, " = ", expected.str(), ", got ", array.shape().str()));
}

void check_state(const char* op, const char* which, const Array& state, const Array& x, int64_t hidden) {
  check_operand(op, which, "(B, H)", state, {x.dim(0), hidden}, x);
}

RecurrentShape check_recurrent(const char* op, const RecurrentOperands& in, int64_t gates, bool reverse) {
  float_index(op, in.x.dtype());
  if (in.x.ndim() != 3 || in.x.dim(1) == 0)
    throw ValueError(cat(op, ": x must be (B, T, C) with T >= 1, got ", in.x.shape().str()));
  const bool fits = in.w_hh.ndim() == 2 && in.w_hh.dim(1) > 0 && in.w_hh.dim(0) % gates == 0;
  if (!fits || in.w_hh.dim(0) / gates != in.w_hh.dim(1))
    throw ValueError(cat(op, ": w_hh must be (", gates, " H, H) with H >= 1, got ", in.w_hh.shape().str()));
  const int64_t hidden = in.w_hh.dim(1), width = gates * hidden;
  check_operand(op, "w_hh", "", in.w_hh, in.w_hh.shape(), in.x);
  const std::string rows = cat(gates, " H");
  check_operand(op, "w_ih", cat("(", rows, ", C)").c_str(), in.w_ih, {width, in.x.dim(2)}, in.x);
  check_operand(op, "b_ih", cat("(", rows, ",)").c_str(), in.b_ih, {width}, in.x);
  check_operand(op, "b_hh", cat("(", rows, ",)").c_str(), in.b_hh, {width}, in.x);
  check_state(op, "h0", in.h0, in.x, hidden);
  return {in.x.dim(0), in.x.dim(1), hidden, gates, reverse};
}

Array state_or_zeros(const Array& state, const RecurrentShape& s, DType dtype) {
  return state.defined() ? state : Array::zeros({s.batch, s.hidden}, dtype);
}

StepRows step_rows(const Array& array, int64_t t) {
  const int64_t T = array.dim(1), n = array.dim(2);
  return {static_cast<char*>(array.raw()) + t * n * item_bytes(array.dtype()), T * n};
}

Array step_copy(const Array& array, int64_t t) {
  const int64_t T = array.dim(1), bytes = array.dim(2) * item_bytes(array.dtype());
  Array out = Array::empty({array.dim(0), array.dim(2)}, array.dtype());
  for (int64_t b = 0; b < array.dim(0); ++b)
    std::memcpy(static_cast<char*>(out.raw()) + b * bytes, static_cast<const char*>(array.raw()) + (b * T + t) * bytes,
                size_t(bytes));
  return out;
}

Array previous_states(const Array& out, const Array& h0, const RecurrentShape& s) {
  const Array previous = Array::empty(out.shape(), out.dtype());
  const int64_t row = s.hidden * item_bytes(out.dtype());
  parallel_for(s.batch, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const char* from = static_cast<const char*>(out.raw()) + b * s.steps * row;
      char* to = static_cast<char*>(previous.raw()) + b * s.steps * row;
      std::memcpy(to + (s.reverse ? 0 : row), from + (s.reverse ? row : 0), size_t((s.steps - 1) * row));
      std::memcpy(to + s.time(0) * row, static_cast<const char*>(h0.raw()) + b * row, size_t(row));
    }
  });
  return previous;
}

RecurrentWeight::RecurrentWeight(const Array& w_hh, bool transposed, int64_t steps)
    : operand_{w_hh.raw(), w_hh.dim(1), transposed},
      n_(w_hh.dim(transposed ? 0 : 1)),
      k_(w_hh.dim(transposed ? 1 : 0)),
      dtype_(w_hh.dtype()) {
  constexpr int64_t kPackFrom = 4;  // packing reads and writes the weights once
  if (steps >= kPackFrom) packed_.emplace(operand_, k_, n_, dtype_, current_isa());
}

void RecurrentWeight::multiply(const StepRows& a, int64_t begin, int64_t end, const Array& bias, const Array& c,
                               bool add) const {
  const int64_t bytes = item_bytes(dtype_);
  Gemm g;
  g.dtype = dtype_;
  g.m = end - begin;
  g.n = n_;
  g.k = k_;
  g.a = {static_cast<const char*>(a.data) + begin * a.stride * bytes, a.stride, false};
  g.b = operand_;
  if (packed_) g.b_panels = packed_->panels;
  g.c = static_cast<char*>(c.raw()) + begin * n_ * bytes;
  g.c_stride = n_;
  g.epilogue.bias = bias.raw();
  g.epilogue.residual = add ? g.c : nullptr;
  gemm(current_isa(), g);
}

}  // namespace pyformer
