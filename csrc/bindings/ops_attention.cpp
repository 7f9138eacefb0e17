// attention, and rope, the rotary position embedding.
#include "bindings.h"
#include "pyformer/ops/attention/attention.h"
#include "pyformer/ops/rope/rope.h"

namespace pyformer::bindings {

using OptionalTensor = std::optional<Tensor>;

static AttentionOptions options_of(bool causal, std::optional<double> scale, std::optional<int64_t> window,
                                   const OptionalTensor& key_lengths, const OptionalTensor& query_offset,
                                   std::optional<double> softcap) {
  AttentionOptions options;
  options.causal = causal;
  options.scale = scale;
  options.window = window;
  options.softcap = softcap;
  options.key_lengths = or_absent(key_lengths).array();
  options.query_offset = or_absent(query_offset).array();
  return options;
}

void bind_attention(py::module_& core, py::module_& ops) {
  ops.def(
      "attention",
      [](const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& mask, bool causal,
         std::optional<double> scale, std::optional<int64_t> window, const OptionalTensor& key_lengths,
         const OptionalTensor& query_offset, std::optional<double> softcap, const OptionalTensor& sinks) {
        return attention(q, k, v, or_absent(mask),
                         options_of(causal, scale, window, key_lengths, query_offset, softcap), or_absent(sinks));
      },
      py::arg("q"), py::arg("k"), py::arg("v"), py::kw_only(), py::arg("mask") = py::none(), py::arg("causal") = false,
      py::arg("scale") = py::none(), py::arg("window") = py::none(), py::arg("key_lengths") = py::none(),
      py::arg("query_offset") = py::none(), py::arg("softcap") = py::none(), py::arg("sinks") = py::none(), NoGil(),
      R"(softmax(q k^T * scale + mask) v of each head. A (Tq, Tk) matrix is held only with `softcap` or `sinks`.

Args:
    q: (B, Tq, H, D), float.
    k: (B, Tk, Hkv, D), q's dtype; Hkv divides H, so that H / Hkv query heads share a key head.
    v: (B, Tk, Hkv, Dv), q's dtype; of any width.
    mask: broadcastable to (B, H, Tq, Tk). Bool: True where a query may attend. Of q's dtype, or float32 where that has
        16 bits: added to the scores. It gets no gradient.
    causal: the query at position p sees the keys j <= p.
    scale: of the scores, 1 / sqrt(D) by default.
    window: the query at position p sees the keys p - window < j <= p.
    key_lengths: integers (B,), where the keys of each row end; Tk by default.
    query_offset: integers (B,): query i of row b stands at position query_offset[b] + i. By default the last query
        stands at the row's last key: the offset is its key length - Tq.
    softcap: c makes c tanh(score / c) of each scaled score before the mask, as in Gemma 2.
    sinks: (H,), of q's dtype, or float32 where that has 16 bits: a logit of each head that takes part in its softmax
        as a key without a value would, as in gpt-oss. It gets a gradient.

Returns:
    Tensor (B, Tq, H, Dv) of q's dtype. A query with nothing to attend to gives zeros and zero gradients. What it does
        not attend to may hold NaN. Without `softcap` and `sinks` values are added up before they are divided by the
        weights' sum: it is infinite where the sum of |v| over the keys, not only its mean, is beyond float32 (3.4e38;
        float64 for float64).

Raises:
    ValueError: a shape does not fit, a length is out of range, or softcap is not above 0.
    TypeError: a dtype does not fit.

Source: Dao et al. 2022, "FlashAttention"; grouped heads: Ainslie et al. 2023, "GQA"; softcap: Gemma Team 2024, "Gemma
    2", section 2; sinks: OpenAI 2025, "gpt-oss" model card, section 2.2.

Example:
    >>> q = k = pf.zeros(1, 3, 1, 2)  # equal scores: the mean of what each position sees
    >>> v = pf.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).reshape(1, 3, 1, 2)
    >>> pf.ops.attention(q, k, v, causal=True).reshape(3, 2)
    tensor([[1., 2.],
            [2., 3.],
            [3., 4.]], dtype=float32)
    >>> pf.ops.attention(q, k, v, mask=pf.tensor([True, False, True])).reshape(3, 2)
    tensor([[3., 4.],
            [3., 4.],
            [3., 4.]], dtype=float32)
    >>> pf.ops.attention(q, k, v[..., :1], causal=True).reshape(3)
    tensor([1., 2., 3.], dtype=float32)
    >>> pf.ops.attention(q, k, v[..., :1], sinks=pf.zeros(1)).reshape(3)  # (1 + 3 + 5 + nothing) / 4
    tensor([2.25, 2.25, 2.25], dtype=float32))");
  ops.def(
      "attention_packed",
      [](const Tensor& qkv, const OptionalTensor& mask, bool causal, std::optional<double> scale,
         std::optional<int64_t> window, const OptionalTensor& key_lengths, const OptionalTensor& query_offset,
         std::optional<double> softcap, const OptionalTensor& sinks) {
        return attention_packed(qkv, or_absent(mask),
                                options_of(causal, scale, window, key_lengths, query_offset, softcap),
                                or_absent(sinks));
      },
      py::arg("qkv"), py::kw_only(), py::arg("mask") = py::none(), py::arg("causal") = false,
      py::arg("scale") = py::none(), py::arg("window") = py::none(), py::arg("key_lengths") = py::none(),
      py::arg("query_offset") = py::none(), py::arg("softcap") = py::none(), py::arg("sinks") = py::none(), NoGil(),
      R"(`attention` of queries, keys and values that lie side by side in one tensor, as one projection gives them.

Args:
    qkv: (B, T, 3, H, D), float; the third axis holds q, k and v.
    mask, causal, scale, window, key_lengths, query_offset, softcap, sinks: as in `attention`.

Returns:
    Tensor (B, T, H, D) of qkv's dtype.

Raises:
    ValueError: a shape does not fit, or a length is out of range.
    TypeError: a dtype does not fit.

Example:
    >>> qkv = pf.arange(12, dtype="float32").reshape(1, 2, 3, 1, 2)
    >>> pf.ops.attention_packed(qkv, causal=True).reshape(2, 2)
    tensor([[ 4.,  5.],
            [10., 11.]], dtype=float32))");
  // For pyformer/nn/attention.py, which has the docstrings.
  core.def(
      "attention_weights",
      [](const Tensor& q, const Tensor& k, const OptionalTensor& mask, bool causal, std::optional<double> scale,
         std::optional<int64_t> window, const OptionalTensor& key_lengths, const OptionalTensor& query_offset,
         std::optional<double> softcap, const OptionalTensor& sinks) {
        return attention_weights(q, k, or_absent(mask),
                                 options_of(causal, scale, window, key_lengths, query_offset, softcap),
                                 or_absent(sinks));
      },
      py::arg("q"), py::arg("k"), py::kw_only(), py::arg("mask") = py::none(), py::arg("causal") = false,
      py::arg("scale") = py::none(), py::arg("window") = py::none(), py::arg("key_lengths") = py::none(),
      py::arg("query_offset") = py::none(), py::arg("softcap") = py::none(), py::arg("sinks") = py::none(), NoGil());
  core.def(
      "attention_of_scores",
      [](const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& mask, bool causal,
         std::optional<double> scale, std::optional<int64_t> window, const OptionalTensor& key_lengths,
         const OptionalTensor& query_offset) {
        return attention_of_scores(q, k, v, or_absent(mask),
                                   options_of(causal, scale, window, key_lengths, query_offset, std::nullopt),
                                   Tensor());
      },
      py::arg("q"), py::arg("k"), py::arg("v"), py::kw_only(), py::arg("mask") = py::none(), py::arg("causal") = false,
      py::arg("scale") = py::none(), py::arg("window") = py::none(), py::arg("key_lengths") = py::none(),
      py::arg("query_offset") = py::none(), NoGil());
  ops.def("rope", &rope, py::arg("x"), py::arg("positions"), py::arg("frequencies"), py::arg("interleaved") = false,
          NoGil(), R"(Rotary positions: turns pairs of each head's elements by position * frequency.

Args:
    x: (B, T, H, D), float.
    positions: integers (T,) or (B, T), where the tokens stand.
    frequencies: (R,), float, with 2 R <= D: radians a position for each pair, as `rope_frequencies` gives them. What
        lies beyond the first 2 R elements stays.
    interleaved: pairs are neighbours (2 i, 2 i + 1); otherwise (i, i + R), as in Hugging Face's Llama.

Returns:
    Tensor of x's shape and dtype.

Raises:
    ValueError: a shape does not fit.
    TypeError: a dtype does not fit.

Source: Su et al. 2021, "RoFormer", eq. 34.

Example:
    >>> x = pf.tensor([1.0, 0.0]).reshape(1, 1, 1, 2)
    >>> pf.ops.rope(x, pf.tensor([1]), pf.tensor([np.pi / 3])).reshape(2)
    tensor([0.49999997, 0.86602545], dtype=float32))");
}

}  // namespace pyformer::bindings
