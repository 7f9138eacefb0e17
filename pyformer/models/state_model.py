"""Language models whose past is a state of fixed size: ids in, logits out, the loss, generation from the state."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import nn, ops
from pyformer.arrays import plain_array
from pyformer.models.inputs import read_lengths
from pyformer.models.language_model import LanguageModel


class StateModel(LanguageModel):
    """A model of the next token whose past is a state of fixed size.

    A subclass has `wte`, an Embedding that is also the last projection, and `advance`. Neither `forward` nor
    `generate` has a longest sequence: config.context_length is the length of a training window.
    """

    wte: nn.Embedding

    @property
    def head(self) -> nn.Projection:
        return self.wte

    @property
    def longest(self) -> int:
        """No end: the past is a state, so a token costs the same however many came before."""
        return sys.maxsize

    def advance(
        self, ids: pf.Tensor, states: list[pf.Tensor] | None, positions: pf.Tensor
    ) -> tuple[pf.Tensor, list[pf.Tensor]]:
        """Reads ids (B, T) that start at positions (B,) after `states`, each (B, ...); None is the start.

        Returns what the last projection sees, (B, T, C), and the states after it.
        """
        raise NotImplementedError

    def forward(self, ids: Any, lengths: Any = None) -> pf.Tensor:
        """Logits (B, T, V) of the token after each position.

        Args:
            ids: integers (B, T): a Tensor, NumPy array or nested list.
            lengths: tokens of each row that count, (B,); the rest is padding on the right, whose logits mean nothing
                and which changes nothing before.

        Raises:
            ValueError: B or T is 0 or a shape is wrong.
            TypeError: ids are not integers.
            IndexError: an id is not in [0, V).
        """
        return self.head.as_linear(self.hidden(ids, lengths))

    def hidden(self, ids: Any, lengths: Any = None) -> pf.Tensor:
        """What the last projection sees, (B, T, C), from the arguments of `forward`."""
        ids = self.read_ids(ids)
        if lengths is not None:
            read_lengths(self._name, lengths, *ids.shape)
        return self._hidden(ids)

    def _hidden(self, ids: pf.Tensor) -> pf.Tensor:
        return self.advance(ids, None, pf.zeros(ids.shape[0], dtype=pf.int64, device=ids.device))[0]

    def new_cache(self, rows: int = 0, capacity: int = 0) -> StateCache:
        """The states of `rows` texts, which need no room for their tokens."""
        return StateCache(rows)

    def cache_bytes(self, rows: int = 1, tokens: int | None = None) -> int:
        """0: nothing that is kept grows with the tokens."""
        return 0

    def next_logits(self, ids: np.ndarray, counts: np.ndarray, cache: StateCache) -> pf.Tensor:
        """As `LanguageModel.next_logits`. Rows of equal count together: a state can't take back the padding it read."""
        groups = [np.flatnonzero(counts == count) for count in np.unique(counts)]
        if len(groups) == 1:
            return self._advance(ids[:, : counts[0]], cache)
        order, logits = np.argsort(np.concatenate(groups)), []
        parts = [cache.part(rows) for rows in groups]
        for rows, part in zip(groups, parts, strict=True):
            logits.append(self._advance(ids[rows, : counts[rows[0]]], part))
        cache.keep([])
        for part in parts:
            cache.join(part)
        cache.keep(order)
        return ops.embedding(self.on_device(order), ops.concat(logits))

    def _advance(self, ids: np.ndarray, cache: StateCache) -> pf.Tensor:
        hidden, cache.states = self.advance(self.on_device(ids), cache.states, self.on_device(cache.length))
        cache.length = cache.length + ids.shape[1]
        return self.head.as_linear(hidden[:, -1])


class StateCache:
    """What a StateModel remembers of some texts: `states` (rows, ...), None before the first token, and `length`."""

    def __init__(self, rows: int = 0) -> None:
        self.states: list[pf.Tensor] | None = None
        self.length = np.zeros(rows, np.int64)

    @property
    def rows(self) -> int:
        return len(self.length)

    def mark(self) -> tuple[list[pf.Tensor] | None, np.ndarray]:
        """What `go_back` takes the cache back to, after steps, while no row joins or leaves."""
        return self.states, self.length

    def go_back(self, mark: tuple[list[pf.Tensor] | None, np.ndarray]) -> None:
        """Takes the rows back to where they were at `mark`."""
        self.states, self.length = mark

    def part(self, rows: np.ndarray) -> StateCache:
        """A cache of these rows alone."""
        result = StateCache()
        result.states, result.length = self.states, self.length
        result.keep(rows)
        return result

    def keep(self, rows: Any) -> None:
        """Goes on with these rows in this order; the others leave."""
        rows = plain_array("StateCache", rows, np.int64)
        if np.array_equal(rows, np.arange(self.rows)):
            return
        self.length = self.length[rows]
        if not len(rows):
            self.states = None
        elif self.states is not None:
            self.states = [_rows_of(state, rows) for state in self.states]

    def join(self, other: StateCache) -> None:
        """Adds the rows of `other` behind those here; both have read tokens, or one of them is empty."""
        if self.rows and other.rows:
            self.states = [ops.concat([a, b]) for a, b in zip(self.states, other.states, strict=True)]
        elif other.rows:
            self.states = other.states
        self.length = np.concatenate([self.length, other.length])


def _rows_of(x: pf.Tensor, rows: np.ndarray) -> pf.Tensor:
    index = pf.tensor(rows, device=x.device)
    return ops.embedding(index, x.reshape(x.shape[0], -1)).reshape(len(rows), *x.shape[1:])


def initialise(model: nn.Module, num_layers: int, residual: tuple[str, ...]) -> None:
    """GPT-2's first values: matrices normal with 0.02, divided by sqrt(2 L) where their name ends with one of
    `residual`, as what they give adds up along the residual stream; biases 0."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif parameter.ndim == 2:
            nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * num_layers) if name.endswith(residual) else 0.02)
