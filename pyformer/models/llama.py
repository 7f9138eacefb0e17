"""LLaMA: Touvron et al. (2023), with what its relatives choose differently.

RMSNorm before each part, SwiGLU, grouped key heads, no biases; positions rotary (Su et al. 2021), ALiBi (Press et al.
2022), sinusoidal or learned; a sliding window (Jiang et al., "Mistral 7B", 2023); a head of its own or the
embedding's matrix. Names of parameters are those of Hugging Face's files, without the prefix `model.`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import _core, formats, nn, ops
from pyformer.formats import hf
from pyformer.models.language_model import LanguageModel
from pyformer.nn.layers import check_eps, check_probability, check_sizes

POSITIONS = ("rotary", "alibi", "sinusoidal", "learned", "none")
# Packing the weights reads and writes each of them once, as much as a few tokens do.
PACK_FROM_TOKENS = 4

_HF_FIELDS = {
    "vocab_size": "vocab_size",
    "context_length": "max_position_embeddings",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "embed_dim": "hidden_size",
    "num_kv_heads": "num_key_value_heads",
    "hidden_dim": "intermediate_size",
    "head_dim": "head_dim",
    "window": "sliding_window",
    "tied": "tie_word_embeddings",
    "norm_epsilon": "rms_norm_eps",
    "dropout": "dropout",
    "bos_token_id": "bos_token_id",
    "eos_token_id": "eos_token_id",
}
_HF_FIXED = {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "attention_dropout": 0.0}
_HF_KNOWN = {"rope_theta", "rope_scaling", "rope_parameters", "positions"}
_OWN_TYPE = "pyformer_llama"
_REDUNDANT = r"(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq"


@dataclass(frozen=True)
class LlamaConfig:
    """The shape of a model of this family. Raises TypeError or ValueError for values that make none.

    num_kv_heads, hidden_dim and head_dim: by default num_heads; 8/3 of embed_dim, to the next multiple of 32; and
    embed_dim / num_heads. positions: "rotary", "alibi", "sinusoidal", "learned" or "none". rope_scaling: as in
    `ops.rope_frequencies`. window: how many tokens each one sees, itself included; None for all before it.
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
    eos_token_id: int | None = None

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "context_length", "num_layers", "num_heads", "embed_dim")
        check_sizes("LlamaConfig", **{name: getattr(self, name) for name in sizes})
        self._set_default("num_kv_heads", self.num_heads)
        self._set_default("hidden_dim", -(-8 * self.embed_dim // (3 * 32)) * 32)
        if self.head_dim is None and self.embed_dim % self.num_heads:
            raise ValueError(f"LlamaConfig: num_heads ({self.num_heads}) must divide embed_dim ({self.embed_dim})")
        self._set_default("head_dim", self.embed_dim // self.num_heads)
        sizes = ("num_kv_heads", "hidden_dim", "head_dim", *(("window",) if self.window is not None else ()))
        check_sizes("LlamaConfig", **{name: getattr(self, name) for name in sizes})
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"LlamaConfig: num_kv_heads ({self.num_kv_heads}) must divide num_heads ({self.num_heads})"
            )
        if self.positions not in POSITIONS:
            raise ValueError(f"LlamaConfig: positions must be one of {POSITIONS}, got {self.positions!r}")
        if self.positions == "rotary":
            if self.head_dim % 2:
                raise ValueError(f"LlamaConfig: head_dim must be even for rotary positions, got {self.head_dim}")
            ops.rope_frequencies(2, self.rope_base, self.rope_scaling)
        if self.positions == "sinusoidal" and self.embed_dim % 2:
            raise ValueError(f"LlamaConfig: embed_dim must be even for sinusoidal positions, got {self.embed_dim}")
        check_eps("LlamaConfig", self.norm_epsilon)
        check_probability("LlamaConfig", "dropout", self.dropout)

    def _set_default(self, name: str, value: Any) -> None:
        if getattr(self, name) is None:
            object.__setattr__(self, name, value)

    def to_hf(self) -> dict[str, Any]:
        """The content of config.json; `transformers` reads it where positions are rotary."""
        kind, name = ("llama", "Llama") if self.window is None else ("mistral", "Mistral")
        config = {
            "architectures": [f"{name}ForCausalLM"],
            "model_type": kind,
            **{theirs: getattr(self, ours) for ours, theirs in _HF_FIELDS.items()},
            **_HF_FIXED,
            "rope_theta": self.rope_base,
            "rope_scaling": None if self.rope_scaling is None else dict(self.rope_scaling),
        }
        if self.positions != "rotary":
            config |= {"architectures": ["pyformer.models.Llama"], "model_type": _OWN_TYPE, "positions": self.positions}
        return config

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> LlamaConfig:
        """Reads the content of a LLaMA or Mistral config.json; ValueError or TypeError if it can't be built."""
        kind = config.get("model_type")
        if kind not in ("llama", "mistral", _OWN_TYPE):
            raise ValueError(f"Llama: model_type must be 'llama' or 'mistral', got {kind!r}")
        required = ("vocab_size", "max_position_embeddings", "num_hidden_layers", "num_attention_heads", "hidden_size")
        required = (*required, "intermediate_size")
        known = {*_HF_FIELDS.values(), *_HF_KNOWN}
        hf.check_config("Llama", config, fixed=_HF_FIXED, required=required, known=known)
        values = {ours: config[theirs] for ours, theirs in _HF_FIELDS.items() if theirs in config}
        # What Hugging Face takes where nothing is said.
        values.setdefault("window", 4096 if kind == "mistral" else None)
        values.setdefault("num_kv_heads", 8 if kind == "mistral" else None)
        rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
        base = rope.pop("rope_theta", config.get("rope_theta", 10000.0))
        scaling = rope if rope.get("rope_type", rope.get("type", "default")) != "default" else None
        positions = config.get("positions", "rotary") if kind == _OWN_TYPE else "rotary"
        return cls(**values, positions=positions, rope_base=base, rope_scaling=scaling)


class Attention(nn.Module):
    """The four projections of a block's self-attention."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        width, kv_width = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.embed_dim, width, bias=False)
        self.k_proj = nn.Linear(config.embed_dim, kv_width, bias=False)
        self.v_proj = nn.Linear(config.embed_dim, kv_width, bias=False)
        self.o_proj = nn.Linear(width, config.embed_dim, bias=False)


class FeedForward(nn.Module):
    """The three projections of SwiGLU (Shazeer 2020): down(silu(gate(x)) * up(x))."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.embed_dim, config.hidden_dim, bias=False)
        self.up_proj = nn.Linear(config.embed_dim, config.hidden_dim, bias=False)
        self.down_proj = nn.Linear(config.hidden_dim, config.embed_dim, bias=False)


@dataclass(frozen=True)
class Places:
    """Where the tokens of a batch stand: rotary positions and frequencies, or None; arguments of `ops.attention`."""

    rotary: tuple[pf.Tensor, pf.Tensor] | None
    attention: dict[str, Any]


@dataclass(frozen=True)
class CachedLayer:
    """What generation needs of a block: its linear maps and the keys and values so far, (B, length, Hkv, D)."""

    maps: dict[str, Callable]
    keys: pf.Tensor
    values: pf.Tensor


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.input_layernorm = nn.RMSNorm(config.embed_dim, eps=config.norm_epsilon)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = nn.RMSNorm(config.embed_dim, eps=config.norm_epsilon)
        self.mlp = FeedForward(config)
        self.dropout = nn.Dropout(config.dropout)

    def maps(self) -> dict[str, nn.Linear]:
        """The linear maps by the first letters of their names."""
        return {
            name.removesuffix("_proj"): m for part in (self.self_attn, self.mlp) for name, m in part.named_children()
        }

    def forward(
        self,
        x: pf.Tensor,
        places: Places,
        weights: list[pf.Tensor] | None = None,
        cached: CachedLayer | None = None,
        starts: pf.Tensor | None = None,
    ) -> pf.Tensor:
        """(B, T, C) -> (B, T, C); attention weights (B, H, T, T) are appended to the list `weights`.

        With `cached`, the tokens start at position starts[b] of a row and see what is in the cache too.
        """
        maps = self.maps() if cached is None else cached.maps
        h = self.input_layernorm(x)
        q, k, v = (self._heads(maps[name](h)) for name in "qkv")
        if places.rotary is not None:
            q, k = ops.rope(q, *places.rotary), ops.rope(k, *places.rotary)
        if cached is not None:
            _core.cache_append_(cached.keys, k, starts)
            _core.cache_append_(cached.values, v, starts)
            k, v = cached.keys, cached.values
        mixed = ops.attention(q, k, v, **places.attention)
        if weights is not None:
            weights.append(nn.attention_weights(q, k, **places.attention))
        x = self._add(x, maps["o"], mixed.reshape(*x.shape[:2], -1))
        h = self.post_attention_layernorm(x)
        return self._add(x, maps["down"], maps["gate"](h, activation="silu") * maps["up"](h))

    def _heads(self, x: pf.Tensor) -> pf.Tensor:
        return x.reshape(*x.shape[:2], -1, self.head_dim)

    def _add(self, x: pf.Tensor, linear: Callable, h: pf.Tensor) -> pf.Tensor:
        if self.training and self.dropout.p > 0.0:
            return x + self.dropout(linear(h))
        return linear(h, residual=x)


class Llama(LanguageModel):
    """A language model of the LLaMA family, freshly initialised from `pf.manual_seed`'s stream, float32."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        if not isinstance(config, LlamaConfig):
            raise TypeError(f"Llama: expected a LlamaConfig, got {type(config).__name__}")
        self.config = config
        with nn.init.skip():
            self.embed_tokens = nn.Embedding(config.vocab_size, config.embed_dim)
            if config.positions == "learned":
                self.embed_positions = nn.Embedding(config.context_length, config.embed_dim)
            self.dropout = nn.Dropout(config.dropout)
            self.layers = nn.ModuleList(Block(config) for _ in range(config.num_layers))
            self.norm = nn.RMSNorm(config.embed_dim, eps=config.norm_epsilon)
            self.lm_head = None if config.tied else nn.Linear(config.embed_dim, config.vocab_size, bias=False)
        if not nn.init.skipped():
            self._initialise()

    def _initialise(self) -> None:
        """Weights normal with 0.02, those that add to the residual stream with 0.02 / sqrt(2 L)."""
        with pf.no_grad():
            for name, parameter in self.named_parameters():
                if parameter.ndim == 2:
                    residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                    std = 0.02 / math.sqrt(2 * self.config.num_layers) if residual else 0.02
                    _core.copy_([parameter], [pf.randn(*parameter.shape, dtype=parameter.dtype) * std])

    @property
    def head_weight(self) -> pf.Tensor:
        """The last projection, (V, C)."""
        return (self.embed_tokens if self.lm_head is None else self.lm_head).weight

    def decoder(self, rows: int, length: int, new_tokens: int) -> CachedLlama:
        """A `generation.Decoder` for `rows` prompts."""
        return CachedLlama(self, rows, length, new_tokens)

    def hidden(self, ids: Any, lengths: Any = None, weights: list[pf.Tensor] | None = None) -> pf.Tensor:
        """What the last projection sees, (B, T, C); each layer appends its attention weights to `weights`."""
        ids, lengths, offsets = self.read_inputs(ids, lengths)
        positions = np.arange(ids.shape[1], dtype=np.int64)[None]
        x, places = self.dropout(self.embed(ids, positions)), self.places(positions, ids.shape[1], lengths, offsets)
        for layer in self.layers:
            x = layer(x, places, weights)
        return self.norm(x)

    def embed(self, ids: pf.Tensor, positions: np.ndarray) -> pf.Tensor:
        """What the first block sees of ids (B, T) at positions (B or 1, T)."""
        x = self.embed_tokens(ids)
        if self.config.positions == "learned":
            x = x + self.embed_positions(self.on_device(positions))
        elif self.config.positions == "sinusoidal":
            x = x + self.on_device(nn.sinusoids(positions, self.config.embed_dim)).to(x.dtype)
        return x

    def places(self, positions: np.ndarray, keys: int, lengths: pf.Tensor | None, offsets: pf.Tensor | None) -> Places:
        """What blocks are told of queries at positions (B or 1, T) and their `keys` keys."""
        config = self.config
        window = None if config.window is None else min(config.window, keys)
        attention = {"causal": True, "window": window, "key_lengths": lengths, "query_offset": offsets}
        rotary = None
        if config.positions == "rotary":
            frequencies = ops.rope_frequencies(config.head_dim, config.rope_base, config.rope_scaling)
            shared = positions[0] if len(positions) == 1 else positions
            rotary = self.on_device(shared), frequencies.to(self.head_weight.device)
        elif config.positions == "alibi":
            bias = nn.alibi_bias(nn.alibi_slopes(config.num_heads), positions, keys)
            attention["mask"] = self.on_device(bias).to(self.head_weight.dtype)
        return Places(rotary, attention)

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Writes config.json and model.safetensors, which `transformers` opens where positions are rotary.

        Both replace older files only when complete. OSError if they can't be written.
        """
        hf.save(folder, self.config.to_hf(), self, lambda name: _prefix_of(name) + name)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike, *, dtype: Any = None) -> Llama:
        """Opens a folder of `save_pretrained`, LlamaForCausalLM or MistralForCausalLM, in evaluation mode.

        `dtype` defaults to float64 for a float64 file and to float32 otherwise.

        Raises:
            FileNotFoundError: config.json or model.safetensors is missing.
            ValueError: a file is damaged, or the two don't fit together.
            TypeError: a value in config.json or a tensor has the wrong type.
        """
        config = LlamaConfig.from_hf(formats.read_config(folder))
        weights = hf.Weights(folder, "model.")
        last = f"layers.{config.num_layers - 1}"
        anchors = {
            "embed_tokens.weight": (config.vocab_size, config.embed_dim),
            f"{last}.self_attn.q_proj.weight": (config.num_heads * config.head_dim, config.embed_dim),
            f"{last}.mlp.up_proj.weight": (config.hidden_dim, config.embed_dim),
        }
        if config.positions == "learned":
            anchors["embed_positions.weight"] = (config.context_length, config.embed_dim)
        weights.require(config.num_layers, anchors)
        with nn.init.skip():
            model = cls(config)
        redundant = rf"{_REDUNDANT}|lm_head\.weight" if config.tied else _REDUNDANT
        return weights.fill(model, str, redundant, dtype)


class CachedLlama:
    """A `generation.Decoder` over a Llama. All state of a generation is here, none in the model."""

    def __init__(self, model: Llama, rows: int, length: int, new_tokens: int) -> None:
        model.check_computable()
        self.model = model
        config, weight = model.config, model.head_weight
        shape = (rows, length, config.num_kv_heads, config.head_dim)
        where = {"dtype": weight.dtype, "device": weight.device}
        pack = new_tokens >= PACK_FROM_TOKENS
        self.head = _core.PackedLinear(weight) if pack else (lambda x: ops.linear(x, weight))
        self.layers = [
            CachedLayer(
                {n: _core.PackedLinear(m.weight) if pack else m for n, m in block.maps().items()},
                pf.zeros(shape, **where),
                pf.zeros(shape, **where),
            )
            for block in model.layers
        ]

    def extend(self, ids: np.ndarray, positions: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Logits (B, V) after the last token of each row, as `generation.Decoder` says."""
        model, (rows, tokens) = self.model, ids.shape
        places = positions[:, None] + np.arange(tokens)
        starts, ends = model.on_device(positions), model.on_device(lengths)
        x = model.embed(model.on_device(ids), places)
        told = model.places(places, self.layers[0].keys.shape[1], ends, starts)
        for block, layer in zip(model.layers, self.layers, strict=True):
            x = block(x, told, cached=layer, starts=starts)
        x = x.reshape(rows * tokens, -1)
        if tokens > 1:
            last = np.arange(rows) * tokens + (lengths - positions - 1)
            x = ops.embedding(model.on_device(last), x)
        return self.head(model.norm(x)).to("cpu").numpy()


def _prefix_of(name: str) -> str:
    return "" if name.startswith("lm_head.") else "model."
