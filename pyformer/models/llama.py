"""LLaMA: Touvron et al. (2023), with what its relatives choose differently.

RMSNorm before each part, SwiGLU, grouped key heads, no biases; positions rotary (Su et al. 2021), ALiBi (Press et al.
2022), sinusoidal or learned; a sliding window (Jiang et al., "Mistral 7B", 2023); a head of its own or the
embedding's matrix. Names of parameters are those of Hugging Face's files, without the prefix `model.`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyformer as pf
from pyformer import nn, ops
from pyformer.formats.hf import llama
from pyformer.models.config import Config
from pyformer.models.language_model import LanguageModel, Span
from pyformer.nn.cache import LayerCache
from pyformer.nn.layers import check_eps
from pyformer.nn.module import activation_dtype

POSITIONS = ("rotary", "alibi", "sinusoidal", "learned", "none")


@dataclass(frozen=True)
class LlamaConfig(Config):
    """The shape of a model of the LLaMA family.

    Args:
        vocab_size, context_length, num_layers, num_heads, embed_dim: as in `GPTConfig`.
        num_kv_heads: heads of keys and values, num_heads by default.
        hidden_dim: of the MLP, 8/3 embed_dim to the next multiple of 32 by default.
        head_dim: embed_dim / num_heads by default.
        positions: "rotary", "alibi", "sinusoidal", "learned" or "none".
        rope_base, rope_scaling: as in `pf.ops.rope_frequencies`.
        window: how many tokens each one sees, itself included; None for all before it.
        tied: the embedding is the last projection, too.
        norm_epsilon: of RMSNorm.
        dropout: probability, on what each part of a block adds.
        bos_token_id, eos_token_id: kept for files and for `generate`'s callers; eos_token_id may be a list.

    Raises:
        ValueError: a value makes no model.
        TypeError: a value is of the wrong type.

    Example:
        >>> config = pf.models.LlamaConfig(65, 64, num_layers=2, num_heads=4, embed_dim=64, num_kv_heads=2)
        >>> config.head_dim, config.hidden_dim
        (16, 192)
    """

    vocab_size: int
    context_length: int
    num_layers: int
    num_heads: int
    embed_dim: int
    num_kv_heads: int | None = None
    hidden_dim: int | None = None
    head_dim: int | None = None
    positions: str = "rotary"
    rope_base: float = 10000.0
    rope_scaling: Mapping[str, Any] | None = None
    window: int | None = None
    tied: bool = False
    norm_epsilon: float = 1e-6
    dropout: float = 0.0
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    def __post_init__(self) -> None:
        self._check_sizes("vocab_size", "context_length", "num_layers", "num_heads", "embed_dim")
        self._default("num_kv_heads", self.num_heads)
        self._default("hidden_dim", -(-8 * self.embed_dim // (3 * 32)) * 32)
        if self.head_dim is None:
            self._check_divides("num_heads", "embed_dim")
        self._default("head_dim", self.embed_dim // self.num_heads)
        self._check_sizes("num_kv_heads", "hidden_dim", "head_dim", *(("window",) if self.window is not None else ()))
        self._check_divides("num_kv_heads", "num_heads")
        self._check_one_of("positions", POSITIONS)
        if self.positions == "rotary":
            if self.head_dim % 2:
                raise ValueError(f"LlamaConfig: head_dim must be even for rotary positions, got {self.head_dim}")
            ops.rope_frequencies(2, self.rope_base, self.rope_scaling)
        if self.positions == "sinusoidal" and self.embed_dim % 2:
            raise ValueError(f"LlamaConfig: embed_dim must be even for sinusoidal positions, got {self.embed_dim}")
        check_eps("LlamaConfig", self.norm_epsilon)
        self._check_probability("dropout")
        self._check_tokens("bos_token_id", "eos_token_id")


class Attention(nn.Module):
    """Causal self-attention with grouped key heads."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        width, kv_width = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.embed_dim, width, bias=False)
        self.k_proj = nn.Linear(config.embed_dim, kv_width, bias=False)
        self.v_proj = nn.Linear(config.embed_dim, kv_width, bias=False)
        self.o_proj = nn.Linear(width, config.embed_dim, bias=False)

    def mix(
        self,
        x: pf.Tensor,
        places: Places,
        weights: list[pf.Tensor] | None = None,
        cache: LayerCache | None = None,
    ) -> pf.Tensor:
        """What each token of x (B, T, C) gathers, (B, T, H * D), before `o_proj`."""
        shape = *x.shape[:2], -1, self.head_dim
        q, k, v = (linear(x).reshape(*shape) for linear in (self.q_proj, self.k_proj, self.v_proj))
        if places.rotary is not None:
            q, k = ops.rope(q, *places.rotary), ops.rope(k, *places.rotary)
        if cache is not None:
            k, v = cache.append(k, v)
        mixed = ops.attention(q, k, v, **places.reach)
        if weights is not None:
            weights.append(nn.attention_weights(q, k, **places.reach))
        return mixed.reshape(*x.shape[:2], -1)


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020): down(silu(gate(x)) * up(x))."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.embed_dim, config.hidden_dim, bias=False)
        self.up_proj = nn.Linear(config.embed_dim, config.hidden_dim, bias=False)
        self.down_proj = nn.Linear(config.hidden_dim, config.embed_dim, bias=False)

    def gated(self, x: pf.Tensor) -> pf.Tensor:
        """What `down_proj` sees."""
        return self.gate_proj(x, activation="silu") * self.up_proj(x)


@dataclass(frozen=True)
class Places(Span):
    """A Span with the arguments of `ops.rope`, positions and frequencies, or None."""

    rotary: tuple[pf.Tensor, pf.Tensor] | None = None


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(config.embed_dim, eps=config.norm_epsilon)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = nn.RMSNorm(config.embed_dim, eps=config.norm_epsilon)
        self.mlp = FeedForward(config)
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
        mixed = self.self_attn.mix(self.input_layernorm(x), places, weights, cache)
        x = self._add(x, self.self_attn.o_proj, mixed)
        return self._add(x, self.mlp.down_proj, self.mlp.gated(self.post_attention_layernorm(x)))

    def _add(self, x: pf.Tensor, linear: nn.Linear, h: pf.Tensor) -> pf.Tensor:
        return x + self.dropout(linear(h)) if self.dropout.active else linear(h, residual=x)


class Llama(LanguageModel):
    """A language model of the LLaMA family: RMSNorm, SwiGLU, grouped heads, rotary or other positions.

    Freshly initialised from `pf.manual_seed`'s stream, float32. It is called, trained and generates as `GPT` does;
    where positions are rotary, its folders are those of Hugging Face's LlamaForCausalLM, and Mistral's open, too.

    Args:
        config: a LlamaConfig.

    Raises:
        TypeError: config is no LlamaConfig; later, ids are no integers.
        ValueError: later, a text exceeds the context length.
        IndexError: later, an id is not in [0, V).

    Source: Touvron et al. 2023, "LLaMA"; Su et al. 2021, "RoFormer"; Shazeer 2020, "GLU variants improve
    transformer".

    Example:
        >>> model = pf.models.Llama(pf.models.LlamaConfig(10, 8, num_layers=1, num_heads=2, embed_dim=8))
        >>> model([[1, 2, 3]]).shape
        (1, 3, 10)
    """

    config_class = LlamaConfig
    layout = llama.LAYOUT

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        with nn.init.skip():
            self.embed_tokens = nn.Embedding(config.vocab_size, config.embed_dim)
            if config.positions == "learned":
                self.embed_positions = nn.Embedding(config.context_length, config.embed_dim)
            self.dropout = nn.Dropout(config.dropout)
            self.layers = nn.ModuleList(Block(config) for _ in range(config.num_layers))
            self.norm = nn.RMSNorm(config.embed_dim, eps=config.norm_epsilon)
            self.lm_head = None if config.tied else nn.Linear(config.embed_dim, config.vocab_size, bias=False)
        self._initialise()

    def _initialise(self) -> None:
        """Weights normal with 0.02, those that add to the residual stream with 0.02 / sqrt(2 L)."""
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * self.config.num_layers) if residual else 0.02)

    @property
    def head(self) -> nn.Projection:
        return self.embed_tokens if self.lm_head is None else self.lm_head

    @property
    def cache_heads(self) -> tuple[int, int]:
        return self.config.num_kv_heads, self.config.head_dim

    def hidden(
        self, ids: Any, lengths: Any = None, weights: list[pf.Tensor] | None = None, cache: nn.KVCache | None = None
    ) -> pf.Tensor:
        """What the last projection sees, (B, T, C), as `LanguageModel.hidden` says."""
        ids, span = self.read_inputs(ids, lengths, cache)
        x, places = self.dropout(self.embed(ids, span)), self.places(span)
        for i, layer in enumerate(self.layers):
            x = layer(x, places, weights, None if cache is None else cache[i])
        return self.norm(x)

    def embed(self, ids: pf.Tensor, span: Span) -> pf.Tensor:
        """What the first block sees of ids (B, T)."""
        x = self.embed_tokens(ids)
        if self.config.positions == "learned":
            x = x + self.embed_positions(span.places)
        elif self.config.positions == "sinusoidal":
            x = x + self.on_device(nn.sinusoids(span.positions, self.config.embed_dim)).to(x.dtype)
        return x

    def places(self, span: Span) -> Places:
        """What blocks are told of the tokens of `span`."""
        config, positions = self.config, span.positions
        reach = {**span.reach, "window": None if config.window is None else min(config.window, span.keys)}
        rotary = None
        if config.positions == "rotary":
            frequencies = ops.rope_frequencies(config.head_dim, config.rope_base, config.rope_scaling)
            rotary = span.places, frequencies.to(self.head.device)
        elif config.positions == "alibi":
            bias = nn.alibi_bias(nn.alibi_slopes(config.num_heads), positions, span.keys)
            reach["mask"] = self.on_device(bias).to(activation_dtype(self.head))
        return Places(positions, span.places, span.keys, reach, rotary)
