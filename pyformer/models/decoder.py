"""A decoder of any family: each layer does what its record in the config says.

Names of parameters are those of Hugging Face's LLaMA, without the prefix `model.`; `attention_output_norm` and
`mlp_output_norm` normalise what a part adds, where the family does so.
"""

from __future__ import annotations

import math
from typing import Any

import pyformer as pf
from pyformer import formats, nn, ops
from pyformer.formats.hf import decoder
from pyformer.models.decoder_config import DecoderConfig, Layer
from pyformer.models.language_model import IGNORED, LanguageModel, Span
from pyformer.models.places import Places, kinds_of, places_of
from pyformer.nn.cache import LayerCache


class Attention(nn.Module):
    """Causal self-attention with grouped key heads."""

    def __init__(self, config: DecoderConfig, layer: Layer) -> None:
        super().__init__()
        self.head_dim, self.qk_norm, self.softcap = config.head_dim, layer.qk_norm, layer.attention_softcap
        self.scale = layer.attention_scale
        width, kv_width = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.embed_dim, width, bias=layer.qkv_bias)
        self.k_proj = nn.Linear(config.embed_dim, kv_width, bias=layer.qkv_bias)
        self.v_proj = nn.Linear(config.embed_dim, kv_width, bias=layer.qkv_bias)
        self.o_proj = nn.Linear(width, config.embed_dim, bias=layer.out_bias)
        if layer.qk_norm is not None:
            widths = (width, kv_width) if layer.qk_norm == "width" else (config.head_dim, config.head_dim)
            self.q_norm, self.k_norm = (
                nn.RMSNorm(dim, eps=config.norm_epsilon, centred=layer.centred_norms) for dim in widths
            )

    def mix(
        self,
        x: pf.Tensor,
        places: Places,
        weights: list[pf.Tensor] | None = None,
        cache: LayerCache | None = None,
    ) -> pf.Tensor:
        """What each token of x (B, T, C) gathers, (B, T, H * D), before `o_proj`."""
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        if self.qk_norm == "width":
            q, k = self.q_norm(q), self.k_norm(k)
        shape = *x.shape[:2], -1, self.head_dim
        q, k, v = (each.reshape(*shape) for each in (q, k, v))
        if self.qk_norm == "head":
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = places.turn(q), places.turn(k)
        if places.magnitude is not None:
            q = q * places.magnitude
        if cache is not None:
            k, v = cache.append(k, v)
        reach = {**places.reach, "scale": self.scale, "softcap": self.softcap}
        mixed = ops.attention(q, k, v, **reach)
        if weights is not None:
            weights.append(nn.attention_weights(q, k, **reach))
        return mixed.reshape(*x.shape[:2], -1)


class FeedForward(nn.Module):
    """A gated MLP (Shazeer 2020): down(activation(gate(x)) * up(x))."""

    def __init__(self, config: DecoderConfig, layer: Layer) -> None:
        super().__init__()
        self.activation = layer.activation
        self.gate_proj = nn.Linear(config.embed_dim, config.hidden_dim, bias=layer.mlp_bias)
        self.up_proj = nn.Linear(config.embed_dim, config.hidden_dim, bias=layer.mlp_bias)
        self.down_proj = nn.Linear(config.hidden_dim, config.embed_dim, bias=layer.mlp_bias)

    def gated(self, x: pf.Tensor) -> pf.Tensor:
        """What `down_proj` sees."""
        return self.gate_proj(x, activation=self.activation) * self.up_proj(x)


def norm_of(config: DecoderConfig) -> nn.Module:
    """A norm of a token's vector, as the config wants it."""
    if config.norm_kind == "layer":
        return nn.LayerNorm(config.embed_dim, eps=config.norm_epsilon, bias=False)
    return nn.RMSNorm(config.embed_dim, eps=config.norm_epsilon, centred=config.centred_norms)


class Block(nn.Module):
    """x + attention(x), then x + mlp(x), with norms before or after each part, or both."""

    def __init__(self, config: DecoderConfig, layer: Layer) -> None:
        super().__init__()

        def norm(place: str) -> nn.Module | None:
            return norm_of(config) if layer.norms in (place, "sandwich") else None

        self.residual_scale = layer.residual_scale
        self.input_layernorm = norm("pre") if layer.input_norm else None
        self.self_attn = Attention(config, layer)
        self.attention_output_norm = norm("post")
        self.post_attention_layernorm = norm("pre")
        self.mlp = FeedForward(config, layer)
        self.mlp_output_norm = norm("post")
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x: pf.Tensor,
        places: Places,
        weights: list[pf.Tensor] | None = None,
        cache: LayerCache | None = None,
    ) -> pf.Tensor:
        """(B, T, C) -> (B, T, C); attention weights (B, H, T, T) are appended to the list `weights`.

        With `cache` the tokens also see those that are in it.
        """
        before = x if self.input_layernorm is None else self.input_layernorm(x)
        mixed = self.self_attn.mix(before, places, weights, cache)
        x = self._add(x, self.self_attn.o_proj, mixed, self.attention_output_norm)
        before = x if self.post_attention_layernorm is None else self.post_attention_layernorm(x)
        return self._add(x, self.mlp.down_proj, self.mlp.gated(before), self.mlp_output_norm)

    def _add(self, x: pf.Tensor, linear: nn.Linear, h: pf.Tensor, norm: nn.Module | None) -> pf.Tensor:
        if norm is None and self.residual_scale == 1.0 and not self.dropout.active:
            return linear(h, residual=x)
        h = linear(h) if norm is None else norm(linear(h))
        return x + self.dropout(h if self.residual_scale == 1.0 else h * self.residual_scale)


def initialise(model: Any) -> None:
    """Matrices normal with 0.02, those that add to the residual stream with 0.02 / sqrt(2 L)."""
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            residual = name.endswith(("o_proj.weight", "down_proj.weight"))
            nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * model.config.num_layers) if residual else 0.02)


class Decoder(LanguageModel):
    """A language model of one of today's families; the config says what each layer does.

    Freshly initialised from `pf.manual_seed`'s stream, float32. It is called, trained and generates as `GPT` does. Its
    folders are those of `transformers`: LLaMA, Mistral, Qwen 2 and 3, Gemma 2 and 3, OLMo 2, Granite, Phi 3 and 4 mini,
    SmolLM 2 and 3.

    Args:
        config: a DecoderConfig.

    Raises:
        TypeError: config is no DecoderConfig; later, ids are no integers.
        ValueError: the config has what its family doesn't; later, a text exceeds the context length.
        IndexError: later, an id is not in [0, V).

    Example:
        >>> sizes = {"vocab_size": 10, "context_length": 8, "num_layers": 1, "num_heads": 2, "embed_dim": 8}
        >>> config = pf.models.DecoderConfig(**sizes, family="qwen2", qkv_bias=True)
        >>> pf.models.Decoder(config)([[1, 2, 3]]).shape
        (1, 3, 10)
    """

    config_class = DecoderConfig

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__(config)
        self.layout = decoder.checked_layout(config)
        layers = config.layers
        self._seen, self._sees = kinds_of(layers)
        with nn.init.skip():
            self.embed_tokens = nn.Embedding(config.vocab_size, config.embed_dim)
            if config.positions == "learned":
                self.embed_positions = nn.Embedding(config.context_length, config.embed_dim)
            self.dropout = nn.Dropout(config.dropout)
            self.layers = nn.ModuleList(Block(config, layer) for layer in layers)
            self.norm = norm_of(config)
            self.lm_head = None if config.tied else nn.Linear(config.embed_dim, config.vocab_size, bias=False)
        initialise(self)

    @classmethod
    def layout_of(cls, values: dict[str, Any]) -> formats.Layout:
        return decoder.layout_of(cls.__name__, values.get("model_type"))

    @property
    def head(self) -> nn.Projection:
        return self.embed_tokens if self.lm_head is None else self.lm_head

    @property
    def cache_heads(self) -> tuple[int, int]:
        return self.config.num_kv_heads, self.config.head_dim

    @property
    def reread_at(self) -> int | None:
        scaling = self.config.rope_scaling or {}
        return int(scaling["original_max_position_embeddings"]) if scaling.get("rope_type") == "longrope" else None

    def logits(self, hidden: pf.Tensor) -> pf.Tensor:
        """Logits (..., V) of what the last projection sees, (..., C), capped where the family does so."""
        logits, cap = self.head.as_linear(hidden), self.config.logit_softcap
        return logits if cap is None else ops.tanh(logits / cap) * cap

    def token_loss(self, hidden: pf.Tensor, targets: Any) -> pf.Tensor:
        """As `LanguageModel.token_loss`."""
        if self.config.logit_softcap is None:
            return super().token_loss(hidden, targets)
        logits = self.logits(hidden.reshape(-1, hidden.shape[-1]))
        return ops.cross_entropy(logits, self.flat(targets), ignore_index=IGNORED)

    def read_inputs(self, ids: Any, lengths: Any, cache: nn.KVCache | None) -> tuple[pf.Tensor, Span]:
        before = None if cache is None else cache.mark()
        ids, span = super().read_inputs(ids, lengths, cache)
        if before is not None and self.reread_at is not None and before.max(initial=0) > 0:
            grown = (before > 0) & (before <= self.reread_at) & (span.lengths > self.reread_at)
            if grown.any():
                cache.go_back(before)
                raise ValueError(
                    f"{self._name}: a text that grows past {self.reread_at} tokens is turned by other frequencies: "
                    "read it again from its start"
                )
        return ids, span

    def hidden_at(
        self, ids: pf.Tensor, span: Span, weights: list[pf.Tensor] | None = None, cache: nn.KVCache | None = None
    ) -> pf.Tensor:
        """What the last projection sees, (B, T, C), as `LanguageModel.hidden_at` says."""
        x = self.dropout(self.embed(ids, span))
        places = [places_of(self.config, span, *kind, like=self.head) for kind in self._seen]
        for i, layer in enumerate(self.layers):
            x = layer(x, places[self._sees[i]], weights, None if cache is None else cache[i])
        x = self.norm(x)
        return x if self.config.logit_divisor == 1.0 else x / self.config.logit_divisor

    def embed(self, ids: pf.Tensor, span: Span) -> pf.Tensor:
        """What the first block sees of ids (B, T)."""
        x = self.embed_tokens(ids)
        if self.config.embed_scale != 1.0:
            x = x * self.config.embed_scale
        if self.config.positions == "learned":
            x = x + self.embed_positions(span.places)
        elif self.config.positions == "sinusoidal":
            x = x + self.on_device(nn.sinusoids(span.positions, self.config.embed_dim)).to(x.dtype)
        return x
