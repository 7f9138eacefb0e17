// attention: softmax(q k^T * scale + mask) v for each head, never holding a (Tq, Tk) matrix (Dao et al. 2022).
//
// q (B, Tq, H, D); k (B, Tk, Hkv, D), v (B, Tk, Hkv, Dv) with H = Hkv * group: query head h uses key head h / group.
// Keys of batch row b end at key_lengths[b]; its query i stands at position p = query_offset[b] + i. causal: j <= p.
// window w: p - w < j <= p. A row with nothing to attend to gives zeros and zero gradients. What is not attended takes
// no part: NaN there does not spread, and a row's bits depend on its query, its attended keys and their positions only.
// Saved for backward: q, k, v, out, and per row the highest score and the sum of exponentials below it.
// The order of all sums, and what 16-bit floats are rounded to and when, is written down in attention_ref.cpp.
// With a softcap or with sinks all scores are held: attention_scores.cpp says how that is computed.
#pragma once
#include <optional>

#include "pyformer/core/tensor.h"

namespace pyformer {

struct AttentionOptions {
  bool causal = false;
  std::optional<double> scale;    // absent: 1 / sqrt(D)
  std::optional<int64_t> window;  // absent: none
  std::optional<double> softcap;  // c makes c tanh(s / c) of each scaled score, before the mask; absent: none
  Array mask;                     // broadcastable to (B, H, Tq, Tk): boolean (true: may attend) or added to the scores
  Array key_lengths;              // (B,) int64 or int32, absent: Tk
  Array query_offset;             // (B,) int64 or int32, absent: the row's key length - Tq
  // out and the gradients are in the accumulator's dtype, not rounded to that of q, k and v. dout, whichever it has, is
  // rounded to theirs, as it is multiplied with them.
  bool wide = false;
};

struct AttentionResult {
  Array out;               // (B, Tq, H, Dv)
  Array row_max, row_sum;  // (B, H, Tq)
};

struct AttentionGradient {
  Array dq, dk, dv;  // undefined where not wanted
};
AttentionGradient attention_backward(const Array& dout, const Array& q, const Array& k, const Array& v,
                                     const AttentionResult& result, const AttentionOptions& options, bool need_dq,
                                     bool need_dk_dv);
Array attention_packed_backward(const Array& dout, const Array& qkv, const AttentionResult& result,
                                const AttentionOptions& options);

// The options, with copies of what must outlive the call; raises where they or the operands do not fit.
AttentionOptions checked_options(const Array& q, const Array& k, const Array& v, AttentionOptions options);

// The mask is given apart from the options, and must not want a gradient (ValueError). q, k and v are product operands
// (core/precision.h), which decides `wide`. sinks, (H,), undefined for none: a logit of each head that takes part in
// its softmax as a key without a value would.
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask, AttentionOptions options,
                 const Tensor& sinks = Tensor());
Tensor attention_packed(const Tensor& qkv, const Tensor& mask, AttentionOptions options,
                        const Tensor& sinks = Tensor());

// The weights (B, H, Tq, Tk) by which attention adds up the values; here an added mask gets a gradient.
Tensor attention_weights(const Tensor& q, const Tensor& k, const Tensor& mask, AttentionOptions options,
                         const Tensor& sinks);
// attention by way of them; with the same gradient of the mask.
Tensor attention_of_scores(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask,
                           AttentionOptions options, const Tensor& sinks);

}  // namespace pyformer
