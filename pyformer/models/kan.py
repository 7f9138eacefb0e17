"""Kolmogorov-Arnold networks: learned splines on the edges, sums at the nodes; and a transformer with them inside.

Source: Liu et al. 2024, "KAN: Kolmogorov-Arnold Networks", section 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import generation, nn, ops
from pyformer.models.pretrained import Pretrained
from pyformer.models.state_model import StateModel, initialise
from pyformer.nn.layers import check_probability, check_sizes

MAX_ORDER = 8  # of ops.bspline


def _check_grid(owner: str, intervals: int, order: int, low: float, high: float) -> None:
    check_sizes(owner, intervals=intervals, order=order)
    if order > MAX_ORDER:
        raise ValueError(f"{owner}: order must be at most {MAX_ORDER}, got {order}")
    for name, value in (("low", low), ("high", high)):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{owner}: {name} must be a number, got {type(value).__name__}")
    if not (low < high and math.isfinite(high - low)):
        raise ValueError(f"{owner}: low ({low}) must be below high ({high}), both finite")


@dataclass(frozen=True)
class KANConfig:
    """The shape of a KAN: `sizes` from inputs to outputs, say (2, 5, 1), and the grid of every spline.

    Raises TypeError or ValueError for values that make no model.
    """

    sizes: tuple[int, ...]
    intervals: int = 5
    order: int = 3
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.sizes, (list, tuple)):
            raise TypeError(f"KANConfig: sizes must be a tuple of ints, got {type(self.sizes).__name__}")
        object.__setattr__(self, "sizes", tuple(self.sizes))
        if len(self.sizes) < 2:
            raise ValueError(f"KANConfig: sizes must hold inputs and outputs at least, got {self.sizes}")
        check_sizes("KANConfig", **{f"sizes[{i}]": size for i, size in enumerate(self.sizes)})
        _check_grid("KANConfig", self.intervals, self.order, self.low, self.high)

    def least_parameters(self) -> int:
        edges = sum(a * b for a, b in zip(self.sizes, self.sizes[1:], strict=False))
        return edges * (1 + self.intervals + self.order)


class KAN(Pretrained):
    """KANLayers one after the other: (..., inputs) -> (..., outputs), for regression."""

    model_type = "kan"
    config_class = KANConfig

    def __init__(self, config: KANConfig) -> None:
        super().__init__()
        if not isinstance(config, KANConfig):
            raise TypeError(f"KAN: expected a KANConfig, got {type(config).__name__}")
        self.config = config
        grid = (config.intervals, config.order, config.low, config.high)
        pairs = zip(config.sizes, config.sizes[1:], strict=False)
        self.layers = nn.Sequential(*(nn.KANLayer(a, b, *grid) for a, b in pairs))

    def forward(self, x: Any) -> pf.Tensor:
        """(..., outputs) of x (..., inputs), a Tensor or array of the parameters' dtype.

        Raises:
            ValueError: a shape doesn't fit.
            TypeError: a dtype doesn't fit.
        """
        return self.layers(pf.asarray(x))

    def loss(self, x: Any, targets: Any) -> pf.Tensor:
        """Mean squared error against targets (..., outputs), a scalar."""
        out, targets = self(x), pf.asarray(targets)
        if tuple(targets.shape) != tuple(out.shape):
            raise ValueError(f"KAN: targets must be {tuple(out.shape)}, got {tuple(targets.shape)}")
        return (out - targets).square().mean()


@dataclass(frozen=True)
class KANTransformerConfig:
    """The shape of a KANTransformer. The grid suits the normalised inputs that its layers see.

    Raises TypeError or ValueError for values that make no model.
    """

    vocab_size: int
    context_length: int
    num_layers: int
    num_heads: int
    embed_dim: int
    dropout: float = 0.0
    intervals: int = 6
    order: int = 3
    low: float = -3.0
    high: float = 3.0
    eos_token_id: int | None = None

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "context_length", "num_layers", "num_heads", "embed_dim")
        check_sizes("KANTransformerConfig", **{name: getattr(self, name) for name in sizes})
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"KANTransformerConfig: num_heads ({self.num_heads}) must divide embed_dim ({self.embed_dim})"
            )
        check_probability("KANTransformerConfig", "dropout", self.dropout)
        _check_grid("KANTransformerConfig", self.intervals, self.order, self.low, self.high)

    def least_parameters(self) -> int:
        embeddings = self.vocab_size + self.context_length
        edges = self.num_layers * self.embed_dim * (1 + self.intervals + self.order)
        return self.embed_dim * (embeddings + edges)


class KANTransformer(StateModel):
    """A GPT whose MLPs are one KANLayer each: learned positions, pre-norm blocks, a tied last projection.

    One KANLayer from C to C with the default grid has 10 C^2 numbers; the MLP that it stands for has 8 C^2.
    Generation computes the whole context again for every token.
    """

    model_type = "kan_transformer"
    config_class = KANTransformerConfig

    def __init__(self, config: KANTransformerConfig) -> None:
        super().__init__(config)
        width, grid = config.embed_dim, (config.intervals, config.order, config.low, config.high)
        self.wte = nn.Embedding(config.vocab_size, width)
        self.wpe = nn.Embedding(config.context_length, width)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList()
        for _ in range(config.num_layers):
            block = nn.TransformerBlock(width, config.num_heads, hidden_dim=1, causal=True, dropout=config.dropout)
            block.mlp = nn.KANLayer(width, width, *grid)
            self.blocks.append(block)
        self.norm = nn.LayerNorm(width)
        if not nn.init.skipped():
            initialise(self, config.num_layers, ("out_proj.weight", "base_weight", "spline_weight"))

    def forward(self, ids: Any, *, return_weights: bool = False) -> Any:
        """As `StateModel.forward`; `return_weights` gives (logits, list of each block's weights (B, H, T, T)).

        Raises ValueError past the context length, too.
        """
        weights: list[pf.Tensor] | None = [] if return_weights else None
        logits = ops.linear(self.hidden(ids, weights), self.wte.weight)
        return (logits, weights) if return_weights else logits

    def hidden(self, ids: Any, weights: list[pf.Tensor] | None = None) -> pf.Tensor:
        """What the last projection sees, (B, T, C); each block appends its attention weights to `weights`."""
        ids = self.read_ids(ids)
        tokens = ids.shape[1]
        if tokens > self.config.context_length:
            raise ValueError(f"KANTransformer: {tokens} tokens exceed the context length {self.config.context_length}")
        x = self.wte(ids) + self.wpe(self.to_device(np.arange(tokens, dtype=np.int64)))
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, return_weights=weights is not None)
            if weights is not None:
                x, of_block = x
                weights.append(of_block)
        return self.norm(x)

    @property
    def longest(self) -> int:
        """Positions are learned: the context length is the end."""
        return self.config.context_length

    def decoder(self, rows: int, length: int, new_tokens: int) -> generation.Decoder:
        """Computes all tokens so far again for each new one."""
        return WindowDecoder(self, rows, length)


class WindowDecoder:
    """A `generation.Decoder` that keeps the ids and computes them again."""

    def __init__(self, model: KANTransformer, rows: int, length: int) -> None:
        self.model, self.ids = model, np.zeros((rows, length), np.int64)

    def extend(self, ids: np.ndarray, positions: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Logits (B, V) after the last token of each row, as `generation.Decoder` says."""
        for row, (start, new) in enumerate(zip(positions, ids, strict=True)):
            self.ids[row, start : start + len(new)] = new
        hidden = self.model.hidden(self.ids[:, : int(lengths.max())])
        last = ops.stack([hidden[row, int(end) - 1] for row, end in enumerate(lengths)])
        return ops.linear(last, self.model.wte.weight).to("cpu").numpy()
