"""The shape of a decoder: its sizes, and a record of what each of its layers does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyformer import ops
from pyformer.models.config import Config
from pyformer.nn.layers import check_eps
from pyformer.nn.transformer import check_activation

POSITIONS = ("rotary", "alibi", "sinusoidal", "learned", "none")
NORMS = ("pre", "post", "sandwich")
NORM_KINDS = ("rms", "layer")
QK_NORMS = (None, "head", "width")
LAYER_TYPES = ("full_attention", "sliding_attention")


@dataclass(frozen=True)
class Rope:
    """How positions turn queries and keys: the arguments of `ops.rope_frequencies`, and how wide a head's part is."""

    base: float
    scaling: Mapping[str, Any] | None
    width: int
    # Tensors made of base, scaling and width, by what else they depend on.
    made: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class Layer:
    """What one layer of a decoder does; the fields are those of `DecoderConfig`, for this layer alone."""

    window: int | None
    rope: Rope | None
    causal: bool
    input_norm: bool
    norm_kind: str
    norms: str
    centred_norms: bool
    qk_norm: str | None
    qkv_bias: bool
    out_bias: bool
    mlp_bias: bool
    activation: str
    attention_scale: float | None
    attention_softcap: float | None
    residual_scale: float


@dataclass(frozen=True)
class DecoderConfig(Config):
    """The shape of a decoder of any family that `pf.models.Decoder` knows.

    Defaults are LLaMA's. A model that is to be saved for `transformers` keeps to what its family has.

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
        family: the `model_type` of `transformers` that this is.
        layer_types: "full_attention" or "sliding_attention" for each layer: the window is for the second alone. None
            for the same in all.
        rope_layers: for each layer, whether positions turn its queries and keys; None for all.
        local_rope_base: of layers with a window, whose positions are not scaled; None for rope_base and rope_scaling.
        rotary_dim: how many elements of a head are turned, all by default.
        norms: "pre" normalises what goes into attention and MLP, "post" what comes out of them, "sandwich" both.
        centred_norms: RMSNorm multiplies by 1 + weight.
        qk_norm: None, "head" to normalise each head of queries and keys, "width" all heads together.
        qkv_bias, out_bias, mlp_bias: whether these projections have biases.
        activation: of the MLP's gate.
        attention_scale: of scores, 1 / sqrt(head_dim) by default.
        attention_softcap, logit_softcap: c makes c tanh(x / c) of scores and of logits; None for neither.
        embed_scale: multiplies what the first block sees.
        residual_scale: multiplies what each part of a block adds.
        logit_divisor: divides logits.
        causal: whether a token sees those before it only. Else a window reaches to both sides.
        norm_kind: "rms", or "layer" for LayerNorm without a bias.
        first_norm: whether the first layer normalises what comes in.

    Raises:
        ValueError: a value makes no model.
        TypeError: a value is of the wrong type.

    Example:
        >>> sizes = {"vocab_size": 65, "context_length": 64, "num_layers": 2, "num_heads": 4, "embed_dim": 64}
        >>> config = pf.models.DecoderConfig(**sizes, family="qwen2", qkv_bias=True)
        >>> config.layers[0].qkv_bias, config.layers[0].rope.width
        (True, 16)
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
    family: str = "llama"
    layer_types: tuple[str, ...] | None = None
    rope_layers: tuple[bool, ...] | None = None
    local_rope_base: float | None = None
    rotary_dim: int | None = None
    norms: str = "pre"
    centred_norms: bool = False
    qk_norm: str | None = None
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    activation: str = "silu"
    attention_scale: float | None = None
    attention_softcap: float | None = None
    logit_softcap: float | None = None
    embed_scale: float = 1.0
    residual_scale: float = 1.0
    logit_divisor: float = 1.0
    causal: bool = True
    norm_kind: str = "rms"
    first_norm: bool = True

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
        self._check_one_of("norms", NORMS)
        self._check_one_of("norm_kind", NORM_KINDS)
        self._check_one_of("qk_norm", QK_NORMS)
        for name in ("tied", "centred_norms", "qkv_bias", "out_bias", "mlp_bias", "causal", "first_norm"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{self._name}: {name} must be a bool, got {getattr(self, name)!r}")
        self._check_layers()
        self._check_rope()
        if self.positions == "sinusoidal" and self.embed_dim % 2:
            raise ValueError(f"{self._name}: embed_dim must be even for sinusoidal positions, got {self.embed_dim}")
        check_eps(self._name, self.norm_epsilon)
        check_activation(self._name, self.activation)
        self._check_probability("dropout")
        self._check_tokens("bos_token_id", "eos_token_id")
        self._check_factors()

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _check_layers(self) -> None:
        """What is said of each layer is said of all, and nothing else."""
        for name, allowed in (("layer_types", LAYER_TYPES), ("rope_layers", (True, False))):
            values = getattr(self, name)
            if values is None:
                continue
            if not isinstance(values, (list, tuple)) or len(values) != self.num_layers:
                got = len(values) if isinstance(values, (list, tuple)) else type(values).__name__
                raise ValueError(f"{self._name}: {name} must be {self.num_layers} values, one a layer, got {got}")
            wrong = [value for value in values if value not in allowed]
            if wrong:
                raise ValueError(f"{self._name}: {name} must be of {allowed}, got {wrong[0]!r}")
            object.__setattr__(self, name, tuple(values))

    def _check_rope(self) -> None:
        if self.positions != "rotary":
            return
        if self.head_dim % 2:
            raise ValueError(f"{self._name}: head_dim must be even for rotary positions, got {self.head_dim}")
        if self.rotary_dim is not None:
            self._check_sizes("rotary_dim")
            if self.rotary_dim % 2 or self.rotary_dim > self.head_dim:
                raise ValueError(
                    f"{self._name}: rotary_dim must be even and at most head_dim ({self.head_dim}), "
                    f"got {self.rotary_dim}"
                )
        # The frequencies of 2 channels check all settings without memory for a wide head. Only longrope needs the real
        # width, since it has a factor for each pair of channels.
        is_long = isinstance(self.rope_scaling, Mapping) and self.rope_scaling.get("rope_type") == "longrope"
        ops.rope_frequencies(self.rotary_dim or self.head_dim if is_long else 2, self.rope_base, self.rope_scaling)
        ops.rope_magnitude(self.rope_scaling)
        if self.local_rope_base is not None:
            ops.rope_frequencies(2, self.local_rope_base)

    def _check_factors(self) -> None:
        """Factors are finite numbers above 0; some may be None."""
        optional = ("attention_scale", "attention_softcap", "logit_softcap")
        for name in (*optional, "embed_scale", "residual_scale", "logit_divisor"):
            value = getattr(self, name)
            if name in optional and value is None:
                continue
            self._check_number(name)
            if not 0.0 < value < math.inf:
                raise ValueError(f"{self._name}: {name} must be above 0 and finite, got {value}")
            object.__setattr__(self, name, float(value))

    @property
    def layers(self) -> tuple[Layer, ...]:
        """What each layer does."""
        return tuple(self._layer(index) for index in range(self.num_layers))

    def _layer(self, index: int) -> Layer:
        slides = self.layer_types is None or self.layer_types[index] == "sliding_attention"
        rope = None
        if self.positions == "rotary" and (self.rope_layers is None or self.rope_layers[index]):
            is_local = self.local_rope_base is not None and slides
            base, scaling = (self.local_rope_base, None) if is_local else (self.rope_base, self.rope_scaling)
            rope = Rope(base, scaling, self.rotary_dim or self.head_dim)
        return Layer(
            self.window if slides else None,
            rope,
            self.causal,
            self.norms != "post" and (index > 0 or self.first_norm),
            self.norm_kind,
            self.norms,
            self.centred_norms,
            self.qk_norm,
            self.qkv_bias,
            self.out_bias,
            self.mlp_bias,
            self.activation,
            self.attention_scale,
            self.attention_softcap,
            self.residual_scale,
        )
