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
//
// What is not attended to takes no part, as in attention_ref.cpp, though products multiply it by 0: they get operands
// without infinities and NaN. Of q and k only gradients need that, since `where` chooses among scores. The values'
// infinities and NaN, and those of dout for dv, come by an attention of their own, whose kernels leave out what no row
// attends to; where all is finite it gives 0.
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

// x where it is finite or where it is not, and 0 elsewhere.
static Array part(const Array& x, bool finite) {
  const PrecisionMode plain(std::nullopt);
  const Tensor all(x), zero = number(x, 0.0, x.dtype());
  const Tensor is_finite = equal(subtract(all, all), zero);
  return (finite ? where(is_finite, all, zero) : where(is_finite, zero, all)).array();
}
static Array finite_part(const Array& x) { return part(x, true); }
static Array other_part(const Array& x) { return part(x, false); }

// (..., Tq, D), (..., Tk, D) -> q k^T. A gradient of 0 meets no infinity or NaN.
static Tensor products_of(const Tensor& q, const Tensor& k) {
  const Array x = unrounded_operand(q), y = unrounded_operand(k);
  const DType operands = operand_dtype(x.dtype());
  return record("attention", {q, k}, matmul_forward(x, y, false, true, operands, product_result(x)),
                [q = save(x), k = save(y), operands](const Array& dout, const Needs& need) -> Gradients {
                  MatmulGradient g = matmul_backward(dout, finite_part(q()), finite_part(k()), false, true, need[0],
                                                     need[1], operands);
                  return {g.da, g.db};
                });
}

// (..., Tq, Tk), (..., Tk, Dv) -> the weights times the finite values. The values' gradient is that of finite dout; the
// weights' is of all values, since `where` takes it from those of what is not seen.
static Tensor sums_of_finite(const Tensor& weights, const Tensor& v) {
  const Array x = unrounded_operand(weights), y = unrounded_operand(v);
  const DType operands = operand_dtype(x.dtype());
  const DType wanted = product_result(x);
  return record("attention", {weights, v}, matmul_forward(x, finite_part(y), false, false, operands, wanted),
                [w = save(x), v = save(y), operands](const Array& dout, const Needs& need) -> Gradients {
                  const auto gradient = [&](const Array& d, bool of_w) {
                    return matmul_backward(d, w(), v(), false, false, of_w, !of_w, operands);
                  };
                  return {need[0] ? gradient(dout, true).da : Array(),
                          need[1] ? gradient(finite_part(dout), false).db : Array()};
                });
}

// The infinities and NaN of attended values, with their gradient's: (B, Tq, H, Dv), 0 where there are none.
static Tensor sums_of_others(const Tensor& v, int64_t queries, int64_t heads, AttentionOptions options) {
  const Tensor others = record("attention", {v}, other_part(v.array()),
                               [](const Array& dout, const Needs&) -> Gradients { return {other_part(dout)}; });
  const auto zeros = [&](int64_t rows, int64_t count) {
    const Array out = v.array().like({v.dim(0), rows, count, 1}, v.dtype());
    fill_(out, bits_of(0.0, v.dtype()));
    return Tensor(out);
  };
  Tensor mask = options.mask.defined() ? Tensor(options.mask) : Tensor();
  // What is added to scores would take weights to 0, and 0 times infinity is NaN.
  if (mask.defined() && mask.dtype() != DType::boolean)
    mask = not_equal(mask, number(mask, -std::numeric_limits<double>::infinity()));
  options.softcap.reset();
  return attention(zeros(queries, heads), zeros(v.dim(1), v.dim(2)), others, mask, std::move(options));
}

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
  return where(seen, slice(all, {whole(0), whole(1), whole(2), {1, 1, scores.dim(3)}}), number(scores, 0.0));
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
  const Tensor products = products_of(grouped, heads_first(within_lengths(k, options.key_lengths)));
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

Tensor attention_of_scores(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask,
                           AttentionOptions options, const Tensor& sinks) {
  options = checked(q, k, v, mask, std::move(options), sinks);
  const DType wanted = product_result(product_operand(q));
  const PrecisionMode mode(wide_precision(q.dtype()));
  const Tensor weights = wide_weights(q, k, mask, options, sinks), values = within_lengths(v, options.key_lengths);
  const int64_t batch = q.dim(0), queries = q.dim(1), heads = q.dim(2), keys = v.dim(1), key_heads = v.dim(2);
  const Tensor grouped = reshape(weights, {batch, key_heads, heads / key_heads * queries, keys});
  const Tensor sums = reshape(sums_of_finite(grouped, heads_first(values)), {batch, heads, queries, v.dim(3)});
  return cast(add(heads_first(sums), sums_of_others(values, queries, heads, options)), wanted);
}

}  // namespace pyformer
