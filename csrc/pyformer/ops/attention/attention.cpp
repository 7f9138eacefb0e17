#include "pyformer/ops/attention/attention.h"

#include <cmath>

#include "pyformer/base/run.h"
#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/core/arithmetic/checks.h"
#include "pyformer/core/precision.h"
#include "pyformer/ops/attention/attention_kernels.h"
#include "pyformer/ops/shape/shape.h"

namespace pyformer {

namespace {

// The data of one operand or gradient: an array of its own, or a third of a packed one.
struct Heads {
  void* data;
  AttentionStrides strides;
};

struct AttentionOperands {
  int64_t batch, heads, key_heads, queries, keys, head_dim, value_dim;
  Array like;  // of their dtype and device
  Heads q, k, v;
};

}  // namespace

static Heads heads_of(const Array& x) {  // (B, T, H, D)
  if (!x.defined()) return {nullptr, {0, 0, 0}};
  const int64_t token = x.dim(2) * x.dim(3);
  return {x.raw(), {x.dim(1) * token, token, x.dim(3)}};
}

static Heads heads_of_packed(const Array& qkv, int64_t which) {  // (B, T, 3, H, D)
  const int64_t third = qkv.dim(3) * qkv.dim(4), token = 3 * third;
  return {static_cast<char*>(qkv.raw()) + which * third * item_bytes(qkv.dtype()),
          {qkv.dim(1) * token, token, qkv.dim(4)}};
}

// ---- checks ---------------------------------------------------------------------------------------------------

static AttentionOperands check_separate(const Array& q, const Array& k, const Array& v) {
  const auto check = [&](const char* which, const Array& x) {
    check_alike("attention", which, x, "q", q);
    if (x.ndim() != 4) throw ValueError(cat("attention: ", which, " must be (B, T, H, D), got ", x.shape().str()));
  };
  check("q", q);
  check("k", k);
  check("v", v);
  const AttentionOperands o = {q.dim(0), q.dim(2), k.dim(2),    q.dim(1),    k.dim(1),   q.dim(3),
                               v.dim(3), q,        heads_of(q), heads_of(k), heads_of(v)};
  if (o.heads == 0 || o.head_dim == 0)
    throw ValueError(cat("attention: q must be (B, Tq, H, D) with H and D at least 1, got ", q.shape().str()));
  if (o.key_heads == 0 || o.heads % o.key_heads)
    throw ValueError(cat("attention: the heads of k must divide those of q, ", o.heads, ", got ", o.key_heads));
  const Shape expected = {o.batch, o.keys, o.key_heads, o.head_dim};
  if (!(k.shape() == expected))
    throw ValueError(cat("attention: k must be (B, Tk, Hkv, D) = ", expected.str(), ", got ", k.shape().str()));
  const Shape values = {o.batch, o.keys, o.key_heads, o.value_dim};
  if (!(v.shape() == values) || o.value_dim == 0)
    throw ValueError(cat("attention: v must be (B, Tk, Hkv, Dv) = ", values.str(), ", Dv at least 1, as k is ",
                         k.shape().str(), ", got ", v.shape().str()));
  return o;
}

static AttentionOperands check_packed(const Array& qkv) {
  if (qkv.ndim() != 5 || qkv.dim(2) != 3 || qkv.dim(3) == 0 || qkv.dim(4) == 0)
    throw ValueError(cat("attention_packed: qkv must be (B, T, 3, H, D), got ", qkv.shape().str()));
  return {qkv.dim(0),
          qkv.dim(3),
          qkv.dim(3),
          qkv.dim(1),
          qkv.dim(1),
          qkv.dim(4),
          qkv.dim(4),
          qkv,
          heads_of_packed(qkv, 0),
          heads_of_packed(qkv, 1),
          heads_of_packed(qkv, 2)};
}

static void check_row_numbers(const AttentionOperands& o, const char* which, const Array& numbers) {
  if (numbers.ndim() != 1 || numbers.dim(0) != o.batch)
    throw ValueError(cat("attention: ", which, " must be (B,) = (", o.batch, ",), got ", numbers.shape().str()));
  check_device("attention", which, numbers, "q", o.like);
}

static void check_mask(const AttentionOperands& o, const Array& mask) {
  const DType dtype = o.like.dtype();  // the accumulator's is taken too: what is added is not a product's operand
  if (mask.dtype() != DType::boolean && mask.dtype() != dtype && mask.dtype() != accumulator(dtype))
    throw TypeError(
        cat("attention: mask must be bool, or ", name(o.like.dtype()), " as q is, got ", name(mask.dtype())));
  check_device("attention", "mask", mask, "q", o.like);
  const Shape full = {o.batch, o.heads, o.queries, o.keys};
  bool fits = mask.ndim() <= 4;
  for (int axis = 0; fits && axis < mask.ndim(); ++axis) {
    const int64_t dim = mask.dim(axis);
    fits = dim == 1 || dim == full[4 - mask.ndim() + axis];
  }
  if (!fits)
    throw ValueError(
        cat("attention: mask must broadcast to (B, H, Tq, Tk) = ", full.str(), ", got ", mask.shape().str()));
}

// Checks the options, and copies what must outlive the call.
static AttentionOptions checked(const AttentionOperands& o, AttentionOptions options) {
  if (options.window && *options.window < 1)
    throw ValueError(cat("attention: window must be at least 1, got ", *options.window));
  if (options.scale && !std::isfinite(*options.scale))
    throw ValueError(cat("attention: scale must be finite, got ", *options.scale));
  if (options.softcap && !(*options.softcap > 0 && std::isfinite(*options.softcap)))
    throw ValueError(cat("attention: softcap must be above 0 and finite, got ", *options.softcap));
  if (options.mask.defined()) check_mask(o, options.mask);
  if (options.query_offset.defined()) {
    check_row_numbers(o, "query_offset", options.query_offset);
    options.query_offset = int64_copy("attention", "query_offset", options.query_offset);
  }
  if (options.key_lengths.defined()) {
    check_row_numbers(o, "key_lengths", options.key_lengths);
    options.key_lengths = checked_numbers(
        "attention", "key_lengths", options.key_lengths, o.keys + 1, [keys = o.keys](int64_t row, int64_t length) {
          throw ValueError(
              cat("attention: key_lengths must be from 0 to Tk = ", keys, ", got ", length, " for row ", row));
        });
  }
  return options;
}

AttentionOptions checked_options(const Array& q, const Array& k, const Array& v, AttentionOptions options) {
  return checked(check_separate(q, k, v), std::move(options));
}

// ---- running --------------------------------------------------------------------------------------------------

static AttentionInput kernel_input(const AttentionOperands& o, const AttentionOptions& options) {
  AttentionInput in = {};
  in.batch = o.batch, in.heads = o.heads, in.key_heads = o.key_heads;
  in.queries = o.queries, in.keys = o.keys, in.head_dim = o.head_dim, in.value_dim = o.value_dim;
  in_default_float_mode([&] { in.scale = options.scale ? *options.scale : 1 / std::sqrt(double(o.head_dim)); });
  in.causal = options.causal;
  in.window = options.window ? *options.window : 0;
  if (options.key_lengths.defined()) in.key_lengths = static_cast<const int64_t*>(options.key_lengths.raw());
  if (options.query_offset.defined()) in.query_offset = static_cast<const int64_t*>(options.query_offset.raw());
  in.q = o.q.data, in.k = o.k.data, in.v = o.v.data;
  in.q_strides = o.q.strides, in.k_strides = o.k.strides, in.v_strides = o.v.strides;
  if (options.mask.defined()) {
    const Array& mask = options.mask;
    if (mask.dtype() == DType::boolean)
      in.mask_allowed = static_cast<const bool*>(mask.raw());
    else
      in.mask_added = mask.raw(), in.mask_wide = mask.dtype() != o.like.dtype();
    int64_t* strides[4] = {&in.mask_batch, &in.mask_head, &in.mask_query, &in.mask_key};
    int64_t stride = 1;
    for (int axis = mask.ndim() - 1; axis >= 0; --axis) {
      *strides[4 - mask.ndim() + axis] = mask.dim(axis) == 1 ? 0 : stride;
      stride *= mask.dim(axis);
    }
  }
  return in;
}

static AttentionResult run_forward(const AttentionOperands& o, const AttentionOptions& options) {
  const DType statistics = accumulator(o.like.dtype());
  const DType stored = options.wide ? statistics : o.like.dtype();
  const AttentionResult r = {o.like.like({o.batch, o.queries, o.heads, o.value_dim}, stored),
                             o.like.like({o.batch, o.heads, o.queries}, statistics),
                             o.like.like({o.batch, o.heads, o.queries}, statistics)};
  const Heads out = heads_of(r.out);
  run("attention", &AttentionTable::forward, o.like,
      AttentionForward{kernel_input(o, options), out.data, out.strides, r.row_max.raw(), r.row_sum.raw(),
                       options.wide});
  return r;
}

// Writes the gradients that have data; dk and dv together or not at all.
static void run_backward(const AttentionOperands& o, const AttentionOptions& options, const Array& dout,
                         const AttentionResult& r, const Heads& dq, const Heads& dk, const Heads& dv) {
  const Array narrow = dout.dtype() == o.like.dtype() ? dout : cast(dout, o.like.dtype());
  const Heads dout_heads = heads_of(narrow), out = heads_of(r.out);
  run("attention", &AttentionTable::backward, o.like,
      AttentionBackward{kernel_input(o, options), dout_heads.data, out.data, r.row_max.raw(), r.row_sum.raw(), dq.data,
                        dk.data, dv.data, dout_heads.strides, out.strides, dq.strides, dk.strides, dv.strides,
                        options.wide});
}

// ---- Arrays ---------------------------------------------------------------------------------------------------

static DType gradient_dtype(const Array& x, const AttentionOptions& options) {
  return options.wide ? accumulator(x.dtype()) : x.dtype();
}

AttentionGradient attention_backward(const Array& dout, const Array& q, const Array& k, const Array& v,
                                     const AttentionResult& result, const AttentionOptions& options, bool need_dq,
                                     bool need_dk_dv) {
  const AttentionOperands o = check_separate(q, k, v);
  const auto like = [&](const Array& x) { return x.like(x.shape(), gradient_dtype(x, options)); };
  const AttentionGradient g = {need_dq ? like(q) : Array(), need_dk_dv ? like(k) : Array(),
                               need_dk_dv ? like(v) : Array()};
  run_backward(o, checked(o, options), dout, result, heads_of(g.dq), heads_of(g.dk), heads_of(g.dv));
  return g;
}

Array attention_packed_backward(const Array& dout, const Array& qkv, const AttentionResult& result,
                                const AttentionOptions& options) {
  const AttentionOperands o = check_packed(qkv);
  const Array dqkv = qkv.like(qkv.shape(), gradient_dtype(qkv, options));
  run_backward(o, checked(o, options), dout, result, heads_of_packed(dqkv, 0), heads_of_packed(dqkv, 1),
               heads_of_packed(dqkv, 2));
  return dqkv;
}

// ---- Tensors --------------------------------------------------------------------------------------------------

// What the gradient closures keep: the options with the mask under watch, and the statistics.
namespace {
struct Recorded {
  AttentionOptions options;
  Saved mask, out;
  Array row_max, row_sum;

  Recorded(AttentionOptions kept, const AttentionResult& r)
      : options(std::move(kept)), mask(save(options.mask)), out(save(r.out)), row_max(r.row_max), row_sum(r.row_sum) {}
  AttentionResult result() const {
    mask();  // raises if it was written to
    return {out(), row_max, row_sum};
  }
};
}  // namespace

static void take_mask(const char* op, const Tensor& mask, AttentionOptions& options) {
  if (!mask.defined()) return;
  if (mask.requires_grad()) throw ValueError(cat(op, ": mask has no gradient, got one that requires it"));
  options.mask = widened(mask.array());
}

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask, AttentionOptions options,
                 const Tensor& sinks) {
  take_mask("attention", mask, options);
  if (options.softcap || sinks.defined()) return attention_of_scores(q, k, v, mask, std::move(options), sinks);
  const Array x = product_operand(q), y = product_operand(k), z = product_operand(v);
  options.wide = product_result(x) != x.dtype();
  const AttentionOperands o = check_separate(x, y, z);
  options = checked(o, std::move(options));
  const AttentionResult r = run_forward(o, options);
  return record("attention", {q, k, v}, r.out,
                [q = save(x), k = save(y), v = save(z), kept = Recorded(options, r)](const Array& dout,
                                                                                     const Needs& need) -> Gradients {
                  AttentionGradient g =
                      attention_backward(dout, q(), k(), v(), kept.result(), kept.options, need[0], need[1] || need[2]);
                  return {g.dq, need[1] ? g.dk : Array(), need[2] ? g.dv : Array()};
                });
}

// The queries, keys or values of a packed tensor.
static Tensor third_of(const Tensor& qkv, int64_t which) {
  std::vector<SliceRange> ranges;
  for (int axis = 0; axis < 5; ++axis) ranges.push_back({0, 1, qkv.dim(axis)});
  ranges[2] = {which, 1, 1};
  return reshape(slice(qkv, ranges), {qkv.dim(0), qkv.dim(1), qkv.dim(3), qkv.dim(4)});
}

Tensor attention_packed(const Tensor& qkv, const Tensor& mask, AttentionOptions options, const Tensor& sinks) {
  take_mask("attention_packed", mask, options);
  if (options.softcap || sinks.defined()) {
    check_packed(qkv.array());
    return attention_of_scores(third_of(qkv, 0), third_of(qkv, 1), third_of(qkv, 2), mask, std::move(options), sinks);
  }
  const Array x = product_operand(qkv);
  options.wide = product_result(x) != x.dtype();
  const AttentionOperands o = check_packed(x);
  options = checked(o, std::move(options));
  const AttentionResult r = run_forward(o, options);
  return record("attention_packed", {qkv}, r.out,
                [qkv = save(x), kept = Recorded(options, r)](const Array& dout, const Needs&) -> Gradients {
                  return {attention_packed_backward(dout, qkv(), kept.result(), kept.options)};
                });
}

}  // namespace pyformer
