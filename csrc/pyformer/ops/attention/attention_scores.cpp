// attention that holds all scores, made of other operations, each of which has its gradient:
//
//   s   = q k^T * scale;  with a softcap c: s = c tanh(s / c);  with an added mask: s = s + mask
//   w   = softmax of s over the keys that a row attends to, and its head's sink; 0 for other keys
//   out = w v
//
// The sink stands before key 0, so that keys that are added later leave the lanes of earlier ones as they are. A row
// with nothing to attend to gives zeros, with or without a sink.
//
// 16-bit floats: products are those of bfloat16 (float32's for float16), all else is float32, out is rounded once.
// Keys beyond a row's length take no part. What a row does not attend to for another reason is multiplied by 0, so
// that an infinity or NaN there spreads, unlike in attention_ref.cpp.
//
// Source: Gemma Team 2024, "Gemma 2", section 2; OpenAI 2025, "gpt-oss" model card, section 2.2.
#include <algorithm>
#include <cmath>
#include <limits>

#include "pyformer/base/run.h"
#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/core/precision.h"
#include "pyformer/ops/attention/attention.h"
#include "pyformer/ops/cast/cast.h"
#include "pyformer/ops/elementwise/elementwise.h"
#include "pyformer/ops/matmul/matmul.h"
#include "pyformer/ops/reduce/reduce.h"
#include "pyformer/ops/shape/shape.h"
#include "pyformer/ops/softmax/softmax.h"

namespace pyformer {

constexpr int64_t kFar = int64_t(1) << 60;  // beyond every key, and far enough from the ends of int64 to add to

static Tensor number(const Array& like, double value, DType dtype) {
  const Array out = like.like({}, dtype);
  fill_(out, bits_of(value, dtype));
  return Tensor(out);
}
static Tensor number(const Tensor& like, double value) { return number(like.array(), value, like.dtype()); }

static Tensor integer(const Array& like, int64_t value) {
  const Array out = like.like({}, DType::int64);
  fill_(out, bits_of(value, DType::int64));
  return Tensor(out);
}

// 0, 1, ... n - 1
static Tensor positions(const Array& like, int64_t n) {
  const Array ones = like.like({n}, DType::int64);
  fill_(ones, bits_of(int64_t(1), DType::int64));
  return subtract(cumsum(Tensor(ones), 0), integer(like, 1));
}

// (B,) -> (B, 1, 1, 1)
static Tensor by_row(const Array& numbers) { return Tensor(numbers.reshape({numbers.dim(0), 1, 1, 1})); }

// Which keys each query attends to, the mask aside; broadcasts to (B, H, Tq, Tk).
static Tensor keys_in_reach(const Array& q, int64_t keys, const AttentionOptions& options) {
  const int64_t queries = q.dim(1);
  const Tensor key = positions(q, keys);
  const Tensor end = options.key_lengths.defined() ? by_row(options.key_lengths) : integer(q, keys);
  const Tensor within = less(key, end);
  if (!options.causal && !options.window) return within;
  const Tensor first = options.query_offset.defined()
                           ? minimum(maximum(by_row(options.query_offset), integer(q, -kFar)), integer(q, kFar))
                           : subtract(end, integer(q, queries));
  const Tensor place = add(first, reshape(positions(q, queries), {queries, 1}));
  const Tensor before = logical_and(within, less_equal(key, place));
  if (!options.window) return before;
  return logical_and(before, greater(key, subtract(place, integer(q, std::min(*options.window, kFar)))));
}

// Keys or values (B, Tk, Hkv, D), with zeros beyond each row's length.
static Tensor within_lengths(const Tensor& x, const Array& key_lengths) {
  if (!key_lengths.defined()) return x;
  const Tensor key = reshape(positions(x.array(), x.dim(1)), {x.dim(1), 1, 1});
  return where(less(key, by_row(key_lengths)), x, number(x, 0.0));
}

static Tensor heads_first(const Tensor& x) { return transpose(x, {0, 2, 1, 3}); }

static void check_sinks(const Array& q, const Array& sinks) {
  const DType dtype = q.dtype();
  if (sinks.dtype() != dtype && sinks.dtype() != accumulator(dtype))
    throw TypeError(cat("attention: sinks must be ", name(dtype), " as q is, got ", name(sinks.dtype())));
  check_device("attention", "sinks", sinks, "q", q);
  if (sinks.ndim() != 1 || sinks.dim(0) != q.dim(2))
    throw ValueError(cat("attention: sinks must be (H,) = (", q.dim(2), ",), got ", sinks.shape().str()));
}

// Softmax over the keys that are seen, and a sink a head.
static Tensor weights_of(const Tensor& scores, const Tensor& seen, const Tensor& sinks) {
  const Tensor reached = where(seen, scores, number(scores, -std::numeric_limits<double>::infinity()));
  // A row that sees nothing is NaN between here and the last `where`, which keep that from values and gradients.
  if (!sinks.defined()) return where(seen, softmax(reached, 3), number(scores, 0.0));
  const Tensor nothing = equal(sum(seen, Axes(std::vector<int64_t>{3}), true), integer(scores.array(), 0));
  const Tensor sink = where(nothing, number(scores, 0.0), reshape(sinks, {1, sinks.dim(0), 1, 1}));
  const Tensor all = softmax(concat({sink, reached}, 3), 3);
  const auto whole = [&](int axis) { return SliceRange{0, 1, scores.dim(axis)}; };
  return slice(all, {whole(0), whole(1), whole(2), {1, 1, scores.dim(3)}});
}

// Checks what `options` and operands are, in the caller's precision.
static AttentionOptions checked(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask,
                                AttentionOptions options, const Tensor& sinks) {
  if (mask.defined()) options.mask = widened(mask.array());
  const Array operand = product_operand(q);
  options = checked_options(operand, product_operand(k), product_operand(v), std::move(options));
  if (sinks.defined()) check_sinks(operand, widened(sinks.array()));
  return options;
}

// In which 16-bit floats are computed where no mode is set.
static Precision wide_precision(DType dtype) {
  if (precision() || item_bytes(dtype) != 2) return precision();
  return dtype == DType::bfloat16 ? DType::bfloat16 : DType::float32;
}

// What attention_weights gives, of checked operands in wide_precision, unrounded.
static Tensor wide_weights(const Tensor& q, const Tensor& k, const Tensor& mask, const AttentionOptions& options,
                           const Tensor& sinks) {
  const int64_t batch = q.dim(0), queries = q.dim(1), heads = q.dim(2), width = q.dim(3), key_heads = k.dim(2);
  const Tensor grouped = reshape(heads_first(q), {batch, key_heads, heads / key_heads * queries, width});
  const Tensor products = matmul(grouped, heads_first(within_lengths(k, options.key_lengths)), false, true);
  double scale = 0.0;
  in_default_float_mode([&] { scale = options.scale ? *options.scale : 1 / std::sqrt(double(width)); });
  Tensor scores = reshape(products, {batch, heads, queries, k.dim(1)});
  scores = multiply(scores, number(scores, scale));
  if (options.softcap) {
    const Tensor cap = number(scores, *options.softcap);
    scores = multiply(tanh(divide(scores, cap)), cap);
  }
  const Tensor lowest = number(scores, -std::numeric_limits<double>::infinity());
  Tensor seen = keys_in_reach(q.array(), k.dim(1), options);
  if (mask.defined() && mask.dtype() == DType::boolean) {
    seen = logical_and(seen, mask);
  } else if (mask.defined()) {
    scores = add(scores, mask);
    seen = logical_and(seen, not_equal(mask, number(mask, -std::numeric_limits<double>::infinity())));
  }
  return weights_of(scores, logical_and(seen, not_equal(scores, lowest)), sinks);
}

Tensor attention_weights(const Tensor& q, const Tensor& k, const Tensor& mask, AttentionOptions options,
                         const Tensor& sinks) {
  options = checked(q, k, k, mask, std::move(options), sinks);
  const DType wanted = product_result(product_operand(q));
  const PrecisionMode mode(wide_precision(q.dtype()));
  return cast(wide_weights(q, k, mask, options, sinks), wanted);
}

Tensor weighted_values(const Tensor& weights, const Tensor& v, const Array& key_lengths) {
  const int64_t batch = weights.dim(0), heads = weights.dim(1), queries = weights.dim(2), keys = weights.dim(3);
  const int64_t key_heads = v.dim(2);
  const Tensor grouped = reshape(weights, {batch, key_heads, heads / key_heads * queries, keys});
  const Tensor mixed = matmul(grouped, heads_first(within_lengths(v, key_lengths)));
  return heads_first(reshape(mixed, {batch, heads, queries, v.dim(3)}));
}

Tensor attention_of_scores(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask,
                           AttentionOptions options, const Tensor& sinks) {
  options = checked(q, k, v, mask, std::move(options), sinks);
  const DType wanted = product_result(product_operand(q));
  const PrecisionMode mode(wide_precision(q.dtype()));
  const Tensor weights = wide_weights(q, k, mask, options, sinks);
  return cast(weighted_values(weights, v, options.key_lengths), wanted);
}

}  // namespace pyformer
