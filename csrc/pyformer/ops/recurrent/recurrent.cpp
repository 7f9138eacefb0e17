#include "pyformer/ops/recurrent/recurrent.h"

#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/core/precision.h"

namespace pyformer {

static void check_operand(const char* op, const char* which, const char* letters, const Array& array,
                          const Shape& expected, const Array& x) {
  if (!array.defined()) return;
  check_alike(op, which, array, "x", x);
  if (!(array.shape() == expected))
    throw ValueError(cat(op, ": ", which, " must be ", letters, " = ", expected.str(), ", got ", array.shape().str()));
}

void check_state(const char* op, const char* which, const Array& state, const Array& x, int64_t hidden) {
  const bool is_wide = state.defined() && state.dtype() == accumulator(x.dtype()) && state.device() == x.device();
  check_operand(op, which, "(B, H)", state, {x.dim(0), hidden}, is_wide ? state : x);
}

RecurrentShape check_recurrent(const char* op, const RecurrentOperands& in, int64_t gates, bool reverse) {
  if (!is_float(in.x.dtype())) throw TypeError(cat(op, ": expected floats, got ", name(in.x.dtype())));
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
  return {in.x.dim(0), in.x.dim(1), hidden, gates, reverse, in.rounds};
}

bool rounds_products(const Tensor& x) {
  return x.dtype() == DType::float32 && operand_dtype(DType::float32) == DType::bfloat16;
}

DType products_dtype(const RecurrentOperands& in) { return in.rounds ? DType::bfloat16 : in.x.dtype(); }

Array wide(const Array& array) { return array.defined() ? cast(array, accumulator(array.dtype())) : array; }

Array wide_copy(const Array& array) {
  const DType dtype = accumulator(array.dtype());
  return array.dtype() == dtype ? array.copy() : cast(array, dtype);
}

RecurrentOperands wide(const RecurrentOperands& in) {
  return {wide(in.x), wide(in.w_ih), wide(in.w_hh), wide(in.b_ih), wide(in.b_hh), wide(in.h0), in.rounds};
}

Array state_or_zeros(const Array& state, const RecurrentShape& s, const Array& x) {
  return state.defined() ? state : x.zeros_like({s.batch, s.hidden});
}

Array step_copy(const Array& array, int64_t t) {
  const int64_t steps = array.dim(1), n = array.dim(2);
  const Array out = array.like({array.dim(0), n});
  Region from = region_of(array, t * n);
  from.strides[0] = steps * n;
  from.strides[1] = 1;
  strided_copy(out.shape(), array.dtype(), array.device(), region_of(out), from);
  return out;
}

void check_lengths(const char* op, const Lengths& lengths, const RecurrentShape& s) {
  if (lengths.empty()) return;
  if (s.reverse) throw ValueError(cat(op, ": lengths are for reading forward, got reverse, too"));
  if (int64_t(lengths.size()) != s.batch)
    throw ValueError(cat(op, ": lengths must be ", s.batch, ", one a row, got ", lengths.size()));
  for (const int64_t length : lengths)
    if (length < 1 || length > s.steps)
      throw ValueError(cat(op, ": lengths must be from 1 to ", s.steps, ", got ", length));
}

Array last_states(const Array& states, const Lengths& lengths, const RecurrentShape& s) {
  if (lengths.empty()) return step_copy(states, s.time(s.steps - 1));
  const int64_t n = s.hidden;
  const Array out = states.like({s.batch, n});
  for (int64_t b = 0; b < s.batch; ++b)
    strided_copy({n}, states.dtype(), states.device(), region_of(out.reshape({s.batch * n}), b * n),
                 region_of(states.reshape({s.batch * s.steps * n}), (b * s.steps + lengths[size_t(b)] - 1) * n));
  return out;
}

Array previous_states(const Array& out, const Array& h0, const RecurrentShape& s) {
  const Array previous = out.like(out.shape());
  const int64_t H = s.hidden;
  strided_copy({s.batch, s.steps - 1, H}, out.dtype(), out.device(), region_of(previous, s.reverse ? 0 : H),
               region_of(out, s.reverse ? H : 0));
  Region first = region_of(previous, s.time(0) * H);
  first.strides[0] = s.steps * H;
  first.strides[1] = 1;
  strided_copy({s.batch, H}, out.dtype(), out.device(), first, region_of(h0));
  return previous;
}

}  // namespace pyformer
