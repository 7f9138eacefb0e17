"""Liquid networks: closed-form continuous-time cells on text, and on observations at uneven times.

Source: Hasani et al. 2022, "Closed-form continuous-time neural networks".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import nn, ops
from pyformer.float_mode import in_default_float_mode
from pyformer.models.config import Config
from pyformer.models.inputs import check_rows, read_floats, read_lengths
from pyformer.models.pretrained import Pretrained
from pyformer.models.state_model import StateModel


@dataclass(frozen=True)
class LiquidConfig(Config):
    """The shape of a liquid language model.

    Args:
        vocab_size, context_length, num_layers, dropout, eos_token_id: as in `GPTConfig`.
        embed_dim: the width of embedding and state.

    Raises:
        ValueError: a value makes no model.
        TypeError: a value is of the wrong type.

    Example:
        >>> pf.models.LiquidConfig(10, 8, num_layers=1, embed_dim=8).embed_dim
        8
    """

    vocab_size: int
    context_length: int
    num_layers: int
    embed_dim: int
    dropout: float = 0.0
    eos_token_id: int | None = None

    def __post_init__(self) -> None:
        self._check_sizes("vocab_size", "context_length", "num_layers", "embed_dim")
        self._check_probability("dropout")
        self._check_tokens("eos_token_id")


class Liquid(StateModel):
    """A liquid language model: embedding, CfC layers with one unit of time a token, the embedding as the last
    projection.

    Freshly initialised from `pf.manual_seed`'s stream, float32.

    Args:
        config: a LiquidConfig.

    Raises:
        TypeError: config is no LiquidConfig; later, ids are no integers.
        ValueError: later, a shape does not fit.
        IndexError: later, an id is not in [0, V).

    Source: Hasani et al. 2022, "Closed-form continuous-time neural networks".

    Example:
        >>> model = pf.models.Liquid(pf.models.LiquidConfig(10, 8, num_layers=1, embed_dim=8))
        >>> model([[1, 2, 3]]).shape
        (1, 3, 10)
    """

    model_type = "liquid"
    config_class = LiquidConfig

    def __init__(self, config: LiquidConfig) -> None:
        super().__init__(config)
        width = config.embed_dim
        self.wte = nn.Embedding(config.vocab_size, width)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(nn.CfC(width, width) for _ in range(config.num_layers))
        for parameter in self.wte.parameters():
            nn.init.fill_(parameter, lambda table: table / math.sqrt(width))

    def advance(
        self, ids: pf.Tensor, states: list[pf.Tensor] | None, positions: pf.Tensor
    ) -> tuple[pf.Tensor, list[pf.Tensor]]:
        """As `StateModel.advance`; the states are each layer's h, (B, C)."""
        x, ends = self.dropout(self.wte(ids)), []
        for index, layer in enumerate(self.layers):
            start = None if states is None else states[index].reshape(1, *states[index].shape)
            x, end = layer(x, start)
            x = self.dropout(x)
            ends.append(end[0])
        return x, ends


@dataclass(frozen=True)
class LiquidNetworkConfig(Config):
    """The shape of a liquid network on series of numbers.

    Args:
        input_dim, hidden_dim, output_dim: the widths.
        num_layers: how many cells, one above the other.

    Raises:
        ValueError: a value makes no model.
        TypeError: a value is of the wrong type.

    Example:
        >>> pf.models.LiquidNetworkConfig(2, 16, 1).num_layers
        1
    """

    input_dim: int
    hidden_dim: int
    output_dim: int
    num_layers: int = 1

    def __post_init__(self) -> None:
        self._check_sizes("input_dim", "hidden_dim", "output_dim", "num_layers")


class LiquidNetwork(Pretrained):
    """CfC layers and a linear map: (B, T, inputs) observed at uneven times -> (B, T, outputs).

    Args:
        config: a LiquidNetworkConfig.

    Raises:
        TypeError: config is no LiquidNetworkConfig; later, a dtype does not fit.
        ValueError: later, a shape does not fit.

    Source: Hasani et al. 2022, "Closed-form continuous-time neural networks".

    Example:
        >>> model = pf.models.LiquidNetwork(pf.models.LiquidNetworkConfig(2, 16, 1))
        >>> model(pf.zeros(1, 4, 2), elapsed=pf.tensor([[1.0, 0.5, 3.0, 1.0]])).shape
        (1, 4, 1)
    """

    model_type = "liquid_network"
    config_class = LiquidNetworkConfig

    def __init__(self, config: LiquidNetworkConfig) -> None:
        super().__init__(config)
        self.cells = nn.CfC(config.input_dim, config.hidden_dim, config.num_layers)
        self.head = nn.Linear(config.hidden_dim, config.output_dim)

    def forward(self, x: Any, elapsed: Any = None, lengths: Any = None) -> pf.Tensor:
        """(B, T, outputs) of x (B, T, inputs), Tensors or arrays of the parameters' dtype.

        Args:
            x: (B, T, inputs), B at least 1.
            elapsed: the time since the observation before, (B, T); ones by default.
            lengths: observations of each row that count, (B,); the rest is padding on the right, whose outputs mean
                nothing.

        Raises:
            ValueError: a shape doesn't fit.
            TypeError: a dtype doesn't fit.
        """
        x, elapsed = self._read("x", x), None if elapsed is None else self._read("elapsed", elapsed)
        check_rows("LiquidNetwork", x)
        return self.head(self.cells(x, elapsed=elapsed, lengths=lengths)[0])

    @in_default_float_mode
    def loss(self, x: Any, targets: Any, elapsed: Any = None, lengths: Any = None) -> pf.Tensor:
        """Mean squared error against targets (B, T, outputs) of the observations that count, a scalar."""
        out, targets = self(x, elapsed, lengths), self._read("targets", targets)
        if tuple(targets.shape) != tuple(out.shape):
            raise ValueError(f"LiquidNetwork: targets must be {tuple(out.shape)}, got {tuple(targets.shape)}")
        if lengths is None:
            return ops.mse_loss(out, targets)
        ends = read_lengths("LiquidNetwork", lengths, *out.shape[:2])
        there = pf.tensor((np.arange(out.shape[1]) < ends[:, None])[:, :, None], device=out.device)
        errors = ops.mse_loss(ops.where(there, out, 0.0), ops.where(there, targets, 0.0), reduction="sum")
        return errors * (1.0 / self.count_targets(x, targets, elapsed, lengths))

    def count_targets(self, x: Any, targets: Any, elapsed: Any = None, lengths: Any = None) -> int:
        """How many numbers `loss` is the mean of; arguments as in `loss`."""
        batch, tokens, outputs = np.shape(targets)
        count = batch * tokens if lengths is None else int(read_lengths("LiquidNetwork", lengths, batch, tokens).sum())
        return count * outputs

    def _read(self, name: str, values: Any) -> pf.Tensor:
        return read_floats("LiquidNetwork", name, values, self.head)
