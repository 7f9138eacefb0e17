"""Language models of LSTM or GRU layers, in one direction or, as in ELMo, in both.

Sources: Hochreiter, Schmidhuber 1997; Cho et al. 2014; Peters et al. 2018, "Deep contextualized word
representations", section 3.1, for the two directions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pyformer as pf
from pyformer import nn, ops
from pyformer.models.config import Config
from pyformer.models.state_model import StateModel

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


@dataclass(frozen=True)
class LSTMConfig(Config):
    """The shape of an LSTM or GRU language model.

    Args:
        vocab_size, context_length, num_layers, dropout, eos_token_id: as in `GPTConfig`.
        embed_dim: the width of embedding and state.
        cell: "lstm" or "gru".
        bidirectional: a second stack reads from the last token to the first.

    Raises:
        ValueError: a value makes no model.
        TypeError: a value is of the wrong type.

    Example:
        >>> pf.models.LSTMConfig(10, 8, num_layers=1, embed_dim=8, cell="gru").cell
        'gru'
    """

    vocab_size: int
    context_length: int
    num_layers: int
    embed_dim: int
    cell: str = "lstm"
    bidirectional: bool = False
    dropout: float = 0.0
    eos_token_id: int | None = None

    def __post_init__(self) -> None:
        self._check_sizes("vocab_size", "context_length", "num_layers", "embed_dim")
        self._check_one_of("cell", sorted(CELLS))
        self._check_probability("dropout")


class LSTM(StateModel):
    """A recurrent language model: embedding, LSTM or GRU layers, and the embedding again as the last projection.

    With `bidirectional` a second stack reads from the last token to the first and predicts the token before; the two
    share the embedding only. `forward` and `generate` use the first; `loss` is the mean of both stacks';
    `representations` gives both. Freshly initialised from `pf.manual_seed`'s stream, float32.

    Args:
        config: an LSTMConfig.

    Raises:
        TypeError: config is no LSTMConfig; later, ids are no integers.
        ValueError: later, a shape does not fit.
        IndexError: later, an id is not in [0, V).

    Source: Hochreiter, Schmidhuber 1997, "Long short-term memory"; Peters et al. 2018, "Deep contextualized word
    representations".

    Example:
        >>> model = pf.models.LSTM(pf.models.LSTMConfig(10, 8, num_layers=1, embed_dim=8))
        >>> model([[1, 2, 3]]).shape
        (1, 3, 10)
    """

    model_type = "lstm"
    config_class = LSTMConfig

    def __init__(self, config: LSTMConfig) -> None:
        super().__init__(config)
        width, cell = config.embed_dim, CELLS[config.cell]
        self.wte = nn.Embedding(config.vocab_size, width)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(cell(width, width) for _ in range(config.num_layers))
        self.backward_layers = None
        if config.bidirectional:
            self.backward_layers = nn.ModuleList(cell(width, width, reverse=True) for _ in range(config.num_layers))
        self._initialise()

    def _initialise(self) -> None:
        """nn's values, but for an embedding that fits the last projection, and forget gates that start open."""
        width = self.config.embed_dim
        for name, parameter in self.named_parameters():
            if name == "wte.weight":
                nn.init.fill_(parameter, lambda table: pf.randn(*table.shape, device=table.device) / math.sqrt(width))
            elif self.config.cell == "lstm" and "bias_ih" in name:
                nn.init.fill_(parameter, self._forget_gates_open)

    def _forget_gates_open(self, bias: pf.Tensor) -> pf.Tensor:
        width = self.config.embed_dim
        return ops.concat([bias[:width], pf.ones(width, device=bias.device), bias[2 * width :]])

    def advance(
        self, ids: pf.Tensor, states: list[pf.Tensor] | None, positions: pf.Tensor
    ) -> tuple[pf.Tensor, list[pf.Tensor]]:
        """As `StateModel.advance`; the states are h, for LSTM h and c, of each layer, (B, C)."""
        x, ends = self.dropout(self.wte(ids)), []
        per_layer = len(states) // len(self.layers) if states else 0
        for index, layer in enumerate(self.layers):
            start = [s.reshape(1, *s.shape) for s in (states or [])[index * per_layer : (index + 1) * per_layer]]
            x, end = layer(x, None if not start else tuple(start) if self.config.cell == "lstm" else start[0])
            x = self.dropout(x)
            ends += [s[0] for s in (end if self.config.cell == "lstm" else (end,))]
        return x, ends

    def backward_hidden(self, ids: Any) -> pf.Tensor:
        """What the backward stack has read from the last token down to each position, (B, T, C).

        Raises:
            ValueError: the model has no such stack.
        """
        if self.backward_layers is None:
            raise ValueError("LSTM: expected a bidirectional model, got one that reads forward only")
        x = self.dropout(self.wte(self.read_ids(ids)))
        for layer in self.backward_layers:
            x = self.dropout(layer(x)[0])
        return x

    def representations(self, ids: Any) -> pf.Tensor:
        """Each token in its context on both sides, (B, T, 2 C): the last layers of both stacks, side by side."""
        return ops.concat([self.hidden(ids), self.backward_hidden(ids)], axis=-1)

    def loss(self, ids: Any, targets: Any) -> pf.Tensor:
        """As `StateModel.loss`; with `bidirectional` the mean of that and of the backward stack's loss, which
        predicts each token of `ids` from those after it."""
        forward = super().loss(ids, targets)
        ids = self.read_ids(ids)
        if self.backward_layers is None or ids.shape[1] == 1:
            return forward
        backward = self.token_loss(self.backward_hidden(ids[:, 1:]), ids[:, :-1])
        return (forward + backward) * 0.5
