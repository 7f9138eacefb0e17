// attention and the rotary embedding of positions.
#include "bindings.h"
#include "pyformer/ops/attention/attention.h"
#include "pyformer/ops/rope/rope.h"

namespace pyformer::bindings {

using OptionalTensor = std::optional<Tensor>;

static AttentionOptions options_of(bool causal, std::optional<double> scale, std::optional<int64_t> window,
                                   const OptionalTensor& key_lengths, const OptionalTensor& query_offset) {
  AttentionOptions options;
  options.causal = causal;
  options.scale = scale;
  options.window = window;
  options.key_lengths = or_absent(key_lengths).array();
  options.query_offset = or_absent(query_offset).array();
  return options;
}

static const char* attention_doc = R"(softmax(q k^T * scale + mask) v for each head, never holding a (Tq, Tk) matrix.

q: (B, Tq, H, D); k, v: (B, Tk, Hkv, D), Hkv divides H; float32 or float64 alike. Returns (B, Tq, H, D).
mask: broadcastable to (B, H, Tq, Tk), bool (True: may attend) or of q's dtype (added to the scores); no gradient.
scale: 1 / sqrt(D) by default. key_lengths: (B,) integers, keys of row b end there, Tk by default.
query_offset: (B,) integers, query i of row b stands at position p = query_offset[b] + i; by default the row's
key length - Tq. causal: sees keys j <= p; window=w: sees p - w < j <= p.
A row with nothing to attend to gives zeros and zero gradients.
Raises ValueError for wrong shapes or values, TypeError for wrong dtypes.
Source: Dao et al. 2022, "FlashAttention"; grouped heads: Ainslie et al. 2023.)";

void bind_attention(py::module_& ops) {
  ops.def(
      "attention",
      [](const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& mask, bool causal,
         std::optional<double> scale, std::optional<int64_t> window, const OptionalTensor& key_lengths,
         const OptionalTensor& query_offset) {
        return attention(q, k, v, or_absent(mask), options_of(causal, scale, window, key_lengths, query_offset));
      },
      py::arg("q"), py::arg("k"), py::arg("v"), py::kw_only(), py::arg("mask") = py::none(), py::arg("causal") = false,
      py::arg("scale") = py::none(), py::arg("window") = py::none(), py::arg("key_lengths") = py::none(),
      py::arg("query_offset") = py::none(), NoGil(), attention_doc);
  ops.def(
      "attention_packed",
      [](const Tensor& qkv, const OptionalTensor& mask, bool causal, std::optional<double> scale,
         std::optional<int64_t> window, const OptionalTensor& key_lengths, const OptionalTensor& query_offset) {
        return attention_packed(qkv, or_absent(mask), options_of(causal, scale, window, key_lengths, query_offset));
      },
      py::arg("qkv"), py::kw_only(), py::arg("mask") = py::none(), py::arg("causal") = false,
      py::arg("scale") = py::none(), py::arg("window") = py::none(), py::arg("key_lengths") = py::none(),
      py::arg("query_offset") = py::none(), NoGil(),
      "attention(q, k, v, ...) of qkv (B, T, 3, H, D), whose third axis holds q, k and v. Returns (B, T, H, D).");
  ops.def("rope", &rope, py::arg("x"), py::arg("positions"), py::arg("frequencies"), py::arg("interleaved") = false,
          NoGil(), R"(Turns pairs of each head's elements by position * frequency (Su et al. 2021).

x: (B, T, H, D), float32 or float64; positions: (T,) or (B, T) integers; frequencies: (R,) floats with 2 R <= D.
interleaved: pairs are neighbours (2i, 2i + 1), else (i, i + R). Returns x's shape and dtype.
Raises ValueError for wrong shapes, TypeError for wrong dtypes.)");
}

}  // namespace pyformer::bindings
