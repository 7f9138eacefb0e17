"""RetNet: Sun et al. 2023, "Retentive Network: A Successor to Transformer for Large Language Models".

A pre-norm transformer whose attention is retention. It generates from a state, with the bits of the whole text at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import pyformer as pf
from pyformer import nn
from pyformer.models.config import Config
from pyformer.models.state_model import StateModel, initialise


@dataclass(frozen=True)
class RetNetConfig(Config):
    """The shape of a RetNet; a block has as many weights as a transformer's of the same width.

    Args:
        vocab_size, context_length, num_layers, num_heads, embed_dim, dropout, eos_token_id: as in `GPTConfig`; twice
            num_heads divides embed_dim.

    Raises:
        ValueError: a value makes no model.
        TypeError: a value is of the wrong type.

    Example:
        >>> pf.models.RetNetConfig(10, 8, num_layers=1, num_heads=2, embed_dim=8).num_heads
        2
    """

    vocab_size: int
    context_length: int
    num_layers: int
    num_heads: int
    embed_dim: int
    dropout: float = 0.0
    eos_token_id: int | None = None

    def __post_init__(self) -> None:
        self._check_sizes("vocab_size", "context_length", "num_layers", "num_heads", "embed_dim")
        if self.embed_dim % (2 * self.num_heads):
            raise ValueError(
                f"RetNetConfig: twice num_heads ({self.num_heads}) must divide embed_dim ({self.embed_dim})"
            )
        self._check_probability("dropout")
        self._check_tokens("eos_token_id")


class Block(nn.Module):
    """x + retention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: RetNetConfig) -> None:
        super().__init__()
        self.retention_norm = nn.LayerNorm(config.embed_dim)
        self.retention = nn.MultiScaleRetention(config.embed_dim, config.num_heads)
        self.mlp_norm = nn.LayerNorm(config.embed_dim)
        self.mlp = nn.MLP(config.embed_dim, 2 * config.embed_dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: pf.Tensor, state: pf.Tensor | None, positions: pf.Tensor, form: str
    ) -> tuple[pf.Tensor, pf.Tensor | None]:
        """(B, T, C) and the state before -> (B, T, C) and the state after."""
        mixed, state = self.retention(self.retention_norm(x), state, positions, form)
        x = x + self.dropout(mixed)
        return x + self.dropout(self.mlp(self.mlp_norm(x))), state


class RetNet(StateModel):
    """A language model with retention in place of attention: it generates from a state of fixed size.

    Freshly initialised from `pf.manual_seed`'s stream, float32.

    Args:
        config: a RetNetConfig.
        form: how retention is computed, "chunked", "recurrent" or "parallel"; the first two give the same bits, the
            third the same to rounding.

    Raises:
        TypeError: config is no RetNetConfig; later, ids are no integers.
        ValueError: later, a shape does not fit, or the form is not known.
        IndexError: later, an id is not in [0, V).

    Source: Sun et al. 2023, "Retentive Network: A successor to transformer for large language models".

    Example:
        >>> model = pf.models.RetNet(pf.models.RetNetConfig(10, 8, num_layers=1, num_heads=2, embed_dim=8))
        >>> model([[1, 2, 3]]).shape
        (1, 3, 10)
    """

    model_type = "retnet"
    config_class = RetNetConfig

    def __init__(self, config: RetNetConfig, *, form: str = "chunked") -> None:
        super().__init__(config)
        self.form = form
        with nn.init.skip():
            self.wte = nn.Embedding(config.vocab_size, config.embed_dim)
            self.dropout = nn.Dropout(config.dropout)
            self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
            self.norm = nn.LayerNorm(config.embed_dim)
        initialise(self, config.num_layers, ("out_proj.weight", "down.weight"))

    def advance(
        self, ids: pf.Tensor, states: list[pf.Tensor] | None, positions: pf.Tensor
    ) -> tuple[pf.Tensor, list[pf.Tensor]]:
        """As `StateModel.advance`; the states are each block's (B, H, D, Dv), float64."""
        return self._run(ids, states, positions, "chunked")

    def _hidden(self, ids: pf.Tensor) -> pf.Tensor:
        return self._run(ids, None, self.on_device(np.zeros(ids.shape[0], np.int64)), self.form)[0]

    def _run(self, ids: pf.Tensor, states: list[pf.Tensor] | None, positions: pf.Tensor, form: str) -> tuple:
        places = positions.reshape(-1, 1) + self.on_device(np.arange(ids.shape[1], dtype=np.int64))
        x, ends = self.dropout(self.wte(ids)), []
        for index, block in enumerate(self.blocks):
            x, end = block(x, states[index] if states else None, places, form)
            ends.append(end)
        return self.norm(x), ends
