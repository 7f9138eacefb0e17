"""What every rung of the ladder stands in: sizes, words as vectors, and sums over the words that one may see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import nn, ops
from pyformer.arrays import plain_array
from pyformer.nn.attention import attention_of_weights, within_lengths
from pyformer.nn.layers import check_sizes

KERNEL = 3
# Standard deviation of fresh vectors of words and places. Large ones of rare words stay random: 1.0 costs sentiment six
# points. Small ones make products of q and k too small to start from.
SPREAD = 0.3


@dataclass(frozen=True)
class Size:
    """Sizes of a word model.

    `vocab` words, sentences of at most `length` words, vectors of `width`, `outputs` classes. `causal`: one output for
    each word, which sees only the words up to it; otherwise one output for the whole sentence.
    """

    vocab: int
    length: int
    outputs: int
    causal: bool
    width: int = 64
    layers: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        names = ("vocab", "length", "outputs", "width", "layers", "heads")
        check_sizes("Size", **{name: getattr(self, name) for name in names})
        if self.width % self.heads:
            raise ValueError(f"Size: heads ({self.heads}) must divide width ({self.width})")


class PictureConvolution(nn.Module):
    """Two convolutions, each followed by a pooling that halves the picture: (B, 1, 28, 28) -> (B, classes)."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 16, KERNEL, padding=1)
        self.second = nn.Conv2d(16, 32, KERNEL, padding=1)
        self.head = nn.Linear(32 * 7 * 7, classes)

    def forward(self, pictures: Any) -> pf.Tensor:
        x = ops.max_pool2d(ops.relu(self.first(pf.asarray(pictures, device=self.head.device))), 2)
        x = ops.max_pool2d(ops.relu(self.second(x)), 2)
        return self.head(x.reshape(x.shape[0], -1))


class WordModel(nn.Module):
    """The frame of every word rung: words to vectors, layers, a linear head.

    `words` makes (B, n, C) of ids (B, n); each layer is called as layer(x, seen) with seen (B or 1, n, n), True where
    word i may see word j.
    """

    def __init__(self, words: nn.Module, layers: Sequence[nn.Module], size: Size) -> None:
        super().__init__()
        self.causal = size.causal
        self.words = words
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(size.width, size.outputs)

    def forward(self, ids: Any, lengths: Any = None) -> pf.Tensor:
        """Scores (B, n, outputs) of each word if causal, else (B, outputs) of each sentence.

        ids: integers (B, n), a Tensor or NumPy array; lengths: how many words of each row count, (B,), by default all.
        """
        ids = (
            ids if isinstance(ids, pf.Tensor) else pf.tensor(plain_array("ids", ids, np.int64), device=self.head.device)
        )
        seen = self.seen(*ids.shape, lengths)
        x = self.words(ids)
        if lengths is not None:
            ends = pf.tensor(plain_array("lengths", lengths, np.int64), device=x.device)
            x = within_lengths(x, ends)
        for layer in self.layers:
            x = layer(x, seen)
        if x.ndim == 4:
            # Every pair of words votes. The head is linear, so the mean of the votes is the head of the mean.
            x = average(x, seen)
        if not self.causal:
            batch, n, width = x.shape
            x = average(x.reshape(batch, 1, n, width), seen[:, :1]).reshape(batch, width)
        return self.head(x)

    def seen(self, batch: int, n: int, lengths: Any) -> pf.Tensor:
        """(B or 1, n, n) bool: True where word i may see word j."""
        if self.causal:
            return pf.tensor(np.tri(n, dtype=bool)[None], device=self.head.device)
        ends = np.full(batch, n) if lengths is None else plain_array("lengths", lengths)
        return pf.tensor(np.repeat(np.arange(n) < ends[:, None, None], n, axis=1), device=self.head.device)


class OneHot(nn.Module):
    """A word as V numbers, all 0 but one: ids (B, n) -> (B, n, V)."""

    def __init__(self, vocab: int) -> None:
        super().__init__()
        self.register_buffer("eye", pf.tensor(np.eye(vocab, dtype=np.float32)), persistent=False)

    def forward(self, ids: pf.Tensor) -> pf.Tensor:
        return ops.embedding(ids, self.eye)


class Words(nn.Module):
    """A table with a vector for each word: ids (B, n) -> (B, n, C)."""

    def __init__(self, vocab: int, width: int) -> None:
        super().__init__()
        self.table = nn.init.normal(vocab, width, std=SPREAD)

    def forward(self, ids: pf.Tensor) -> pf.Tensor:
        return ops.embedding(ids, self.table)


def average(values: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
    """The mean over j of values (B, m, n, C), of those that word i may see by seen (B or 1, m, n): (B, m, C)."""
    weights = ops.cast(seen, values.dtype)
    return weighted_sum(weights / weights.sum(axis=-1, keepdims=True), values, seen)


def weighted_sum(weights: pf.Tensor, values: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
    """sum_j weights_ij values_ij of the words j that i may see: (B or 1, m, n), (B, m, n, C) -> (B, m, C).

    The others are left out, not multiplied by 0: times an infinity or NaN, that would be NaN.
    """
    values = ops.where(seen.reshape(*seen.shape, 1), values, 0.0)
    return (weights.reshape(*weights.shape, 1) * values).sum(axis=2)


def mixed(weights: pf.Tensor, values: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
    """sum_j weights_ij values_j of the words j that i may see: (B, n, n), (B, n, C) -> (B, n, C)."""
    batch, n, width = values.shape
    weights, seen = weights.reshape(batch, 1, n, n), seen.reshape(-1, 1, n, n)  # one head
    return attention_of_weights(weights, values.reshape(batch, n, 1, width), mask=seen).reshape(batch, n, width)


def importance(scores: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
    """Softmax over j of scores (B, n, n), 0 where word i may not see word j."""
    return ops.softmax(ops.where(seen, scores, -float("inf")))
