#include "pyformer/ops/retention/retention.h"

#include <bit>

#include "pyformer/base/run.h"
#include "pyformer/core/arithmetic/checks.h"
#include "pyformer/ops/retention/retention_kernels.h"

namespace pyformer {

static void check_float(const char* which, const Array& array, const Array& q) {
  if (array.defined()) check_alike("retention", which, array, "q", q);
}
static void check_shape(const char* which, const char* letters, const Array& array, const Shape& expected) {
  if (array.defined() && !(array.shape() == expected))
    throw ValueError(
        cat("retention: ", which, " must be ", letters, " = ", expected.str(), ", got ", array.shape().str()));
}

static RetentionShape check(const Array& q, const Array& k, const Array& v, const Array& decay, const Array& state) {
  check_float("k", k, q);
  check_float("v", v, q);
  check_float("decay", decay, q);
  check_float("state", state, q);
  if (q.ndim() != 4) throw ValueError(cat("retention: q must be (B, T, H, D), got ", q.shape().str()));
  if (v.ndim() != 4) throw ValueError(cat("retention: v must be (B, T, H, Dv), got ", v.shape().str()));
  const RetentionShape s = {q.dim(0), q.dim(1), q.dim(2),
                            q.dim(3), v.dim(3), (q.dim(1) + kRetentionChunk - 1) / kRetentionChunk};
  check_shape("k", "(B, T, H, D)", k, q.shape());
  check_shape("v", "(B, T, H, Dv)", v, {s.batch, s.tokens, s.heads, s.value_dim});
  check_shape("decay", "(H,)", decay, {s.heads});
  check_shape("state", "(B, H, D, Dv)", state, {s.batch, s.heads, s.head_dim, s.value_dim});
  return s;
}

static Array powers_of(const Array& decay) {
  const Array powers = decay.like({decay.size(), kRetentionChunk + 1}), offender = decay.like({2}, DType::int64);
  run("retention", &RetentionPartsTable::powers, decay,
      RetentionPowers{decay.size(), decay.raw(), powers.raw(), static_cast<int64_t*>(offender.raw())});
  raise_later(offender, [](int64_t head, int64_t bits) {
    throw ValueError(cat("retention: decay must be in (0, 1], got ", std::bit_cast<double>(bits), " for head ", head));
  });
  return powers;
}

// 16-bit floats as float32; an absent array stays absent.
static Array wide(const Array& x) { return x.defined() ? cast(x, accumulator(x.dtype())) : x; }

RetentionResult retention_forward(const Array& given_q, const Array& given_k, const Array& given_v, const Array& decay,
                                  const Array& given_state) {
  const RetentionShape s = check(given_q, given_k, given_v, decay, given_state);
  const Array q = wide(given_q), k = wide(given_k), v = wide(given_v), state = wide(given_state);
  const RetentionResult r = {q.like(v.shape()), q.like({s.batch, s.heads, s.head_dim, s.value_dim}),
                             q.like({s.batch, s.heads, s.chunks + 1, s.head_dim, s.value_dim})};
  const Array powers = powers_of(wide(decay));
  run("retention", &RetentionTable::forward, q,
      RetentionForward{s, q.raw(), k.raw(), v.raw(), powers.raw(), state.raw(), r.out.raw(), r.state.raw(),
                       r.states.raw()});
  return {cast(r.out, given_q.dtype()), cast(r.state, given_q.dtype()), r.states};
}

RetentionGradient retention_backward(const Array& given_dout, const Array& given_dstate, const Array& given_q,
                                     const Array& given_k, const Array& given_v, const Array& decay,
                                     const Array& states) {
  const RetentionShape s = check(given_q, given_k, given_v, decay, {});
  const Array q = wide(given_q), k = wide(given_k), v = wide(given_v), dout = wide(given_dout),
              dstate = wide(given_dstate), powers = powers_of(wide(decay));
  const RetentionGradient g = {q.like(q.shape()), k.like(k.shape()), v.like(v.shape()), dstate.like(dstate.shape())};
  run("retention", &RetentionTable::backward, q,
      RetentionBackward{s, dout.raw(), dstate.raw(), q.raw(), k.raw(), v.raw(), powers.raw(), states.raw(), g.dq.raw(),
                        g.dk.raw(), g.dv.raw(), g.dstate.raw()});
  return g;
}

std::vector<Tensor> retention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& decay,
                              const Tensor& state) {
  if (needs_recording({decay})) throw ValueError("retention: decay has no gradient; expected it detached");
  const RetentionResult r = retention_forward(q.array(), k.array(), v.array(), decay.array(), state.array());
  return record_outputs("retention", {q, k, v, state}, {r.out, r.state},
                        [q = save(q), k = save(k), v = save(v), decay = save(decay), states = r.states](
                            const std::vector<Array>& douts, const Needs& need) -> Gradients {
                          const RetentionGradient g =
                              retention_backward(douts[0], douts[1], q(), k(), v(), decay(), states);
                          return {g.dq, g.dk, g.dv, need[3] ? g.dstate : Array()};
                        });
}

}  // namespace pyformer
