"""Language models of LSTM or GRU layers, in one direction or, as in ELMo, in both.

Sources: Hochreiter, Schmidhuber 1997; Cho et al. 2014; Peters et al. 2018, "Deep contextualized word
representations", section 3.1, for the two directions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import nn, ops
from pyformer.models.config import Config
from pyformer.models.inputs import read_int64, read_lengths
from pyformer.models.language_model import IGNORED
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
        self._check_tokens("eos_token_id")


class LSTM(StateModel):
    """A recurrent language model: embedding, LSTM or GRU layers, and the embedding again as the last projection.

    With `bidirectional` a second stack reads from the last token to the first and predicts the token before; the two
    share the embedding only. `forward` and `generate` use the first; `loss` is the mean over both stacks' predictions;
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

    def backward_hidden(self, ids: Any, lengths: Any = None) -> pf.Tensor:
        """What the backward stack has read from each row's last token down to each position, (B, T, C).

        Args:
            ids: integers (B, T), as in `forward`.
            lengths: as in `forward`; a row is read from its own end.

        Raises:
            ValueError: the model has no such stack, or a shape is wrong.
        """
        if self.backward_layers is None:
            raise ValueError("LSTM: expected a bidirectional model, got one that reads forward only")
        ids = self.read_ids(ids)
        if lengths is not None:
            lengths = read_lengths("LSTM", lengths, *ids.shape)
        x = self.dropout(self.wte(ids))
        for layer in self.backward_layers:
            x = self.dropout(layer(x, lengths=lengths)[0])
        return x

    def representations(self, ids: Any, lengths: Any = None) -> pf.Tensor:
        """Each token in its context on both sides, (B, T, 2 C): the last layers of both stacks, side by side.

        Arguments as in `backward_hidden`.
        """
        return ops.concat([self.hidden(ids, lengths), self.backward_hidden(ids, lengths)], axis=-1)

    def loss(self, ids: Any, targets: Any, lengths: Any = None) -> pf.Tensor:
        """As `LanguageModel.loss`; with `bidirectional` the mean over the predictions of both stacks.

        The backward stack predicts the token at each position whose target counts, if there is one after it, from
        those after it. Without `lengths` a row ends with the token after its last position whose target counts: what
        comes later is padding.
        """
        ids = self.read_ids(ids)
        if self.backward_layers is None or ids.shape[1] == 1:
            return super().loss(ids, targets, lengths)
        targets = self._counted(self.read_targets(targets, tuple(ids.shape)), lengths)
        ends = self._ends(targets, lengths)
        before = np.where(self._is_predicted(targets, ends), ids.to("cpu").numpy()[:, :-1], IGNORED)
        backward = self.backward_hidden(ids, None if (ends == ids.shape[1]).all() else ends)[:, 1:]
        hidden = ops.concat([self.hidden(ids, lengths), backward], axis=1)
        return self.token_loss(hidden, np.concatenate([targets, before], axis=1))

    def count_targets(self, ids: Any, targets: Any, lengths: Any = None) -> int:
        """How many predictions `loss` is the mean of; arguments as in `loss`."""
        count = super().count_targets(ids, targets, lengths)
        if self.backward_layers is not None:
            targets = self._counted(read_int64("LSTM", "targets", targets), lengths)
            count += int(self._is_predicted(targets, self._ends(targets, lengths)).sum())
        return count

    @staticmethod
    def _ends(targets: np.ndarray, lengths: Any) -> np.ndarray:
        """Where the rows of targets (B, T) end, (B,)."""
        if lengths is not None:
            return read_lengths("LSTM", lengths, *targets.shape)
        counting = (targets != IGNORED) * np.arange(2, targets.shape[1] + 2)
        return np.clip(counting.max(axis=1), 1, targets.shape[1])

    @staticmethod
    def _is_predicted(targets: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Which tokens the backward stack predicts, (B, T - 1)."""
        return (targets[:, :-1] != IGNORED) & (np.arange(1, targets.shape[1]) < ends[:, None])
