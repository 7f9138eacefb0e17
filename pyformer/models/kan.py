"""Kolmogorov-Arnold networks: learned splines on the edges, sums at the nodes; and a transformer with them inside.

Source: Liu et al. 2024, "KAN: Kolmogorov-Arnold Networks", section 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pyformer as pf
from pyformer import nn, ops
from pyformer.models.config import Config
from pyformer.models.inputs import check_rows, read_floats
from pyformer.models.language_model import LanguageModel, Span
from pyformer.models.pretrained import Pretrained
from pyformer.models.state_model import initialise
from pyformer.nn.layers import check_sizes

MAX_ORDER = 8  # of ops.bspline


@dataclass(frozen=True)
class _GridConfig(Config):
    """A config with the grid of a KANLayer."""

    def _check_grid(self) -> None:
        owner = type(self).__name__
        self._check_sizes("intervals", "order")
        if self.order > MAX_ORDER:
            raise ValueError(f"{owner}: order must be at most {MAX_ORDER}, got {self.order}")
        self._check_number("low")
        self._check_number("high")
        if not (self.low < self.high and math.isfinite(self.high - self.low)):
            raise ValueError(f"{owner}: low ({self.low}) must be below high ({self.high}), both finite")


@dataclass(frozen=True)
class KANConfig(_GridConfig):
    """The shape of a KAN.

    Args:
        sizes: widths from inputs to outputs, such as (2, 5, 1).
        intervals, order, low, high: the grid of every spline, as in `pf.nn.KANLayer`.

    Raises:
        ValueError: a value makes no model.
        TypeError: a value is of the wrong type.

    Example:
        >>> pf.models.KANConfig((2, 5, 1)).intervals
        5
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
        self._check_grid()


class KAN(Pretrained):
    """A Kolmogorov-Arnold network, KANLayers one after the other: (..., inputs) -> (..., outputs), for regression.

    Args:
        config: a KANConfig.

    Raises:
        TypeError: config is no KANConfig; later, a dtype does not fit.
        ValueError: later, a shape does not fit.

    Source: Liu et al. 2024, "KAN: Kolmogorov-Arnold Networks".

    Example:
        >>> model = pf.models.KAN(pf.models.KANConfig((2, 5, 1)))
        >>> model(pf.zeros(7, 2)).shape, model.loss(pf.zeros(7, 2), pf.zeros(7, 1)).shape
        ((7, 1), ())
    """

    model_type = "kan"
    config_class = KANConfig

    def __init__(self, config: KANConfig) -> None:
        super().__init__(config)
        grid = (config.intervals, config.order, config.low, config.high)
        pairs = zip(config.sizes, config.sizes[1:], strict=False)
        self.layers = nn.Sequential(*(nn.KANLayer(a, b, *grid) for a, b in pairs))

    def forward(self, x: Any) -> pf.Tensor:
        """(..., outputs) of x (..., inputs), a Tensor or array of the parameters' dtype with at least one row.

        Raises:
            ValueError: a shape doesn't fit.
            TypeError: a dtype doesn't fit.
        """
        x = read_floats("KAN", "x", x, next(self.parameters()))
        check_rows("KAN", x)
        return self.layers(x)

    def loss(self, x: Any, targets: Any) -> pf.Tensor:
        """Mean squared error against targets (..., outputs), a scalar."""
        out, targets = self(x), read_floats("KAN", "targets", targets, next(self.parameters()))
        if tuple(targets.shape) != tuple(out.shape):
            raise ValueError(f"KAN: targets must be {tuple(out.shape)}, got {tuple(targets.shape)}")
        return ops.mse_loss(out, targets)


@dataclass(frozen=True)
class KANTransformerConfig(_GridConfig):
    """The shape of a KANTransformer.

    Args:
        vocab_size, context_length, num_layers, num_heads, embed_dim, dropout, eos_token_id: as in `GPTConfig`.
        intervals, order, low, high: the grid of every spline; it suits the normalised inputs that the layers see.

    Raises:
        ValueError: a value makes no model.
        TypeError: a value is of the wrong type.

    Example:
        >>> config = pf.models.KANTransformerConfig(10, 8, num_layers=1, num_heads=2, embed_dim=8)
        >>> config.low, config.high
        (-3.0, 3.0)
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
        self._check_sizes("vocab_size", "context_length", "num_layers", "num_heads", "embed_dim")
        self._check_divides("num_heads", "embed_dim")
        self._check_probability("dropout")
        self._check_grid()


class KANTransformer(LanguageModel):
    """A GPT whose MLPs are one KANLayer each; it is called, trained and generates as `GPT`.

    One KANLayer from C to C with the default grid has 10 C^2 numbers; the MLP that it stands for has 8 C^2.

    Args:
        config: a KANTransformerConfig.

    Raises:
        TypeError: config is no KANTransformerConfig; later, ids are no integers.
        ValueError: later, a text exceeds the context length.
        IndexError: later, an id is not in [0, V).

    Source: Liu et al. 2024, "KAN: Kolmogorov-Arnold Networks".

    Example:
        >>> config = pf.models.KANTransformerConfig(10, 8, num_layers=1, num_heads=2, embed_dim=8)
        >>> pf.models.KANTransformer(config)([[1, 2, 3]]).shape
        (1, 3, 10)
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
        initialise(self, config.num_layers, ("out_proj.weight", "base_weight", "spline_weight"))

    @property
    def head(self) -> nn.Projection:
        return self.wte

    def hidden_at(
        self, ids: pf.Tensor, span: Span, weights: list[pf.Tensor] | None = None, cache: nn.KVCache | None = None
    ) -> pf.Tensor:
        """What the last projection sees, (B, T, C), as `LanguageModel.hidden_at` says."""
        x = self.dropout(self.wte(ids) + self.wpe(span.places))
        for layer, block in enumerate(self.blocks):
            where = {"key_lengths": span.reach["key_lengths"], "cache": None if cache is None else cache[layer]}
            x = block(x, return_weights=weights is not None, **where)
            if weights is not None:
                x, of_block = x
                weights.append(of_block)
        return self.norm(x)
