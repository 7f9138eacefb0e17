#include "pyformer/ops/retention/retention.h"

#include <bit>

#include "pyformer/base/run.h"
#include "pyformer/core/arithmetic/checks.h"
#include "pyformer/core/precision.h"
#include "pyformer/ops/retention/retention_kernels.h"

namespace pyformer {

static void check_shape(const char* which, const char* letters, const Array& array, const Shape& expected) {
  if (!(array.shape() == expected))
    throw ValueError(
        cat("retention: ", which, " must be ", letters, " = ", expected.str(), ", got ", array.shape().str()));
}

static void check(const Array& q, const Array& k, const Array& v, const Array& decay, const Array& state) {
  check_alike("retention", "k", k, "q", q);
  check_alike("retention", "v", v, "q", q);
  check_alike("retention", "decay", decay, "q", q);
  if (q.ndim() != 4) throw ValueError(cat("retention: q must be (B, T, H, D), got ", q.shape().str()));
  if (v.ndim() != 4) throw ValueError(cat("retention: v must be (B, T, H, Dv), got ", v.shape().str()));
  const int64_t batch = q.dim(0), heads = q.dim(2);
  check_shape("k", "(B, T, H, D)", k, q.shape());
  check_shape("v", "(B, T, H, Dv)", v, {batch, q.dim(1), heads, v.dim(3)});
  check_shape("decay", "(H,)", decay, {heads});
  if (!state.defined()) return;
  check_device("retention", "state", state, "q", q);
  if (state.dtype() != DType::float64 && state.dtype() != accumulator(q.dtype()))
    check_alike("retention", "state", state, "q", q);
  check_shape("state", "(B, H, D, Dv)", state, {batch, heads, q.dim(3), v.dim(3)});
}

static void check_decay(const Array& decay) {
  const Array offender = decay.like({2}, DType::int64);
  run("retention", &RetentionTable::check, decay,
      RetentionCheck{decay.size(), decay.raw(), static_cast<int64_t*>(offender.raw())});
  raise_later(offender, [](int64_t head, int64_t bits) {
    throw ValueError(cat("retention: decay must be in (0, 1], got ", std::bit_cast<double>(bits), " for head ", head));
  });
}

static Array in_accumulator(const Array& x) { return cast(x, accumulator(x.dtype())); }
// An absent state stays absent.
static Array as_float64(const Array& state) { return state.defined() ? cast(state, DType::float64) : state; }

// S and the sums of one walk; a and r (B, T, H, rows), b (B, T, H, cols), in the accumulator's dtype; start float64.
struct Walked {
  Array out, end;
};
enum class Start { as_is, transposed };
static Walked walk(bool backwards, const Array& decay, const Array& a, const Array& b, const Array& r,
                   const Array& start, Start form) {
  const int64_t batch = a.dim(0), heads = a.dim(2), rows = a.dim(3), cols = b.dim(3);
  const Walked w = {b.like(b.shape()), b.like({batch, heads, rows, cols}, DType::float64)};
  RetentionWalk args = {};
  args.batch = batch, args.tokens = a.dim(1), args.heads = heads;
  args.rows = rows, args.cols = cols;
  args.backwards = backwards;
  args.decay = decay.raw();
  args.a = a.raw(), args.b = b.raw(), args.r = r.raw();
  args.start = static_cast<const double*>(start.raw());
  args.start_row = form == Start::as_is ? cols : 1;
  args.start_col = form == Start::as_is ? 1 : rows;
  args.out = w.out.raw(), args.end = static_cast<double*>(w.end.raw());
  run("retention", &RetentionTable::walk, a, args);
  return w;
}

RetentionResult retention_forward(const Array& q, const Array& k, const Array& v, const Array& decay,
                                  const Array& state) {
  check(q, k, v, decay, state);
  const Array g = in_accumulator(decay);
  check_decay(g);
  const Walked w =
      walk(false, g, in_accumulator(k), in_accumulator(v), in_accumulator(q), as_float64(state), Start::as_is);
  return {cast(w.out, q.dtype()), w.end};
}

// With dS_t the gradient of S_t, g dS_{t+1} + q_t^T dout_t, and dS the last of them times g:
//   (1) dq_t = dout_t S_t^T     (2) dk_t = v_t dS_t^T     (3) dv_t = k_t dS_t     (4) dstate = dS
RetentionGradient retention_backward(const Array& given_dout, const Array& given_dlast, const Array& given_q,
                                     const Array& given_k, const Array& given_v, const Array& given_decay,
                                     const Array& given_state) {
  const Array dout = in_accumulator(given_dout), dlast = as_float64(given_dlast), q = in_accumulator(given_q),
              k = in_accumulator(given_k), v = in_accumulator(given_v), g = in_accumulator(given_decay);
  RetentionGradient r;
  r.dq = walk(false, g, v, k, dout, as_float64(given_state), Start::transposed).out;  // (1)
  r.dk = walk(true, g, dout, q, v, dlast, Start::transposed).out;                     // (2)
  const Walked w = walk(true, g, q, dout, k, dlast, Start::as_is);                    // (3), (4)
  r.dv = w.out;
  if (given_state.defined()) r.dstate = cast(w.end, accumulator(given_state.dtype()));
  return r;
}

std::vector<Tensor> retention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& decay,
                              const Tensor& state) {
  if (has_narrow({q, k, v, decay, state}))
    return retention(widened(q), widened(k), widened(v), widened(decay), widened(state));
  if (needs_recording({decay})) throw ValueError("retention: decay has no gradient; expected it detached");
  const RetentionResult r = retention_forward(q.array(), k.array(), v.array(), decay.array(), state.array());
  return record_outputs("retention", {q, k, v, state}, {r.out, r.state},
                        [q = save(q), k = save(k), v = save(v), decay = save(decay), state = save(state)](
                            const std::vector<Array>& douts, const Needs& need) -> Gradients {
                          const RetentionGradient g =
                              retention_backward(douts[0], douts[1], q(), k(), v(), decay(), state());
                          return {g.dq, g.dk, g.dv, need[3] ? g.dstate : Array()};
                        });
}

}  // namespace pyformer
