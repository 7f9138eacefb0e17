"""What the models that predict a next token have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import nn
from pyformer.models.generating import Generating
from pyformer.models.inputs import read_ids, read_int64, read_lengths
from pyformer.models.pretrained import Pretrained

IGNORED = -100


@dataclass(frozen=True)
class Span:
    """Where the tokens of a batch stand, and what `ops.attention` is told: `reach`.

    `positions` int64 (B or 1, T) is also there as a Tensor (B, T) or (T,), `places`. Keys are `keys` a row, of which
    `lengths` (B or 1,) count.
    """

    positions: np.ndarray
    places: pf.Tensor
    keys: int
    lengths: np.ndarray
    reach: dict[str, Any]


class LanguageModel(Generating, Pretrained):
    """Logits, loss and text from a model that defines `head` and `hidden`."""

    @property
    def head(self) -> nn.Projection:
        """The last projection, (..., C) -> (..., V) by `as_linear`."""
        raise NotImplementedError

    def hidden(
        self, ids: Any, lengths: Any = None, weights: list[pf.Tensor] | None = None, cache: nn.KVCache | None = None
    ) -> pf.Tensor:
        """What the last projection sees, (B, T, C); each layer appends its attention weights to `weights`.

        With `cache`, rows go on from the tokens in it and join them.
        """
        return self.hidden_at(*self.read_inputs(ids, lengths, cache), weights, cache)

    def hidden_at(
        self,
        ids: pf.Tensor,
        span: Span,
        weights: list[pf.Tensor] | None = None,
        cache: nn.KVCache | None = None,
    ) -> pf.Tensor:
        """`hidden` of what `read_inputs` gave."""
        raise NotImplementedError

    def logits(self, hidden: pf.Tensor) -> pf.Tensor:
        """Logits (..., V) of what the last projection sees, (..., C)."""
        return self.head.as_linear(hidden)

    def forward(
        self, ids: Any, lengths: Any = None, *, return_weights: bool = False, cache: nn.KVCache | None = None
    ) -> Any:
        """Logits (B, T, V) of the token after each position.

        Args:
            ids: integers (B, T): a Tensor, NumPy array or nested list.
            lengths: tokens of each row that count, (B,); the rest is padding on the right, whose
                logits mean nothing.
            return_weights: give (logits, list of the attention weights (B, H, T, T) of each layer).
            cache: what `new_cache` gave; rows go on from the tokens in it and join them. Without gradients.

        Raises:
            ValueError: T is 0 or exceeds the context length, or a shape is wrong.
            TypeError: ids are not integers.
            IndexError: an id is not in [0, V).
        """
        weights: list[pf.Tensor] | None = [] if return_weights else None
        logits = self.logits(self.hidden(ids, lengths, weights, cache))
        return (logits, weights) if return_weights else logits

    def loss(self, ids: Any, targets: Any, lengths: Any = None) -> pf.Tensor:
        """Mean cross-entropy in nats, a scalar; the logits are never held whole.

        Args:
            ids: integers (B, T), as in `forward`.
            targets: integers (B, T), the token to predict at each position; -100 is ignored, as
                is what lies beyond `lengths`. The loss is 0 if all are.
            lengths: as in `forward`.

        Raises as `forward` does.
        """
        ids = self.read_ids(ids)
        targets = self.read_targets(targets, tuple(ids.shape))
        return self.token_loss(self.hidden(ids, lengths), self._counted(targets, lengths))

    def _counted(self, targets: np.ndarray, lengths: Any) -> np.ndarray:
        """Targets (B, T) with -100 where they lie beyond `lengths`."""
        if lengths is None:
            return targets
        ends = read_lengths(self._name, lengths, *targets.shape)
        return np.where(np.arange(targets.shape[1]) < ends[:, None], targets, IGNORED)

    def token_loss(self, hidden: pf.Tensor, targets: np.ndarray) -> pf.Tensor:
        """Mean cross-entropy of targets (B, T), -100 ignored, given hidden (B, T, C)."""
        flat = self.on_device(targets.reshape(-1))
        return self.head.linear_cross_entropy(hidden.reshape(-1, hidden.shape[-1]), flat, ignore_index=IGNORED)

    def count_targets(self, ids: Any, targets: Any, lengths: Any = None) -> int:
        """How many targets `loss` is the mean of; arguments as in `loss`."""
        return int((self._counted(read_int64(self._name, "targets", targets), lengths) != IGNORED).sum())

    def read_inputs(self, ids: Any, lengths: Any, cache: nn.KVCache | None) -> tuple[pf.Tensor, Span]:
        """(ids on the model's device, where they stand); they join `cache`."""
        ids = self.read_ids(ids)
        batch, tokens = ids.shape
        places = np.arange(tokens, dtype=np.int64)[None]
        least = 1 if cache is None else 0
        counts = None if lengths is None else read_lengths(self._name, lengths, batch, tokens, least=least)
        if cache is not None:
            positions = cache.length[:, None] + places
            if cache.longest + tokens > self.longest:
                raise ValueError(f"{self._name}: {tokens} tokens more exceed the context length {self.longest}")
            cache.begin(tokens, counts)
            places = cache.starts.reshape(batch, 1) if tokens == 1 else self.on_device(positions)
            return ids, Span(positions, places, cache.capacity, cache.length, {"causal": True, **cache.reach})
        reach = {"causal": True, "key_lengths": None, "query_offset": None}
        if counts is not None:
            reach |= {"key_lengths": self.on_device(counts), "query_offset": self.on_device(np.zeros_like(counts))}
        lengths = np.array([tokens]) if counts is None else counts
        return ids, Span(places, self.on_device(places[0]), tokens, lengths, reach)

    def read_ids(self, ids: Any) -> pf.Tensor:
        """Ids of any accepted form as int64 (B, T)."""
        return read_ids(self._name, ids, self.longest, self.head.device)

    def read_targets(self, targets: Any, shape: tuple[int, ...]) -> np.ndarray:
        """Targets of any accepted form as an int64 array of `shape`."""
        targets = read_int64(self._name, "targets", targets)
        if targets.shape != shape:
            raise ValueError(f"{self._name}: targets must be {shape} as ids are, got {targets.shape}")
        return targets

    @property
    def _name(self) -> str:
        return type(self).__name__

    def on_device(self, array: np.ndarray) -> pf.Tensor:
        """`array` as a Tensor where the model is."""
        return pf.tensor(array, device=self.head.device)
