"""The derivation of the transformer as a ladder of small models; docs/derivation.md tells the story.

Each rung is a layer that takes n word vectors and gives n word vectors, and mends what the one before broke. The frame
around it, `WordModel`, is the same for all: words become vectors, layers mix them, a linear head reads them.

Letters: B sentences, n words in each, V words in the vocabulary, C the width of a word's vector, H heads.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import nn, ops
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
        x = ops.max_pool2d(ops.relu(self.first(pf.asarray(pictures))), 2)
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
        ids = ids if isinstance(ids, pf.Tensor) else pf.tensor(np.asarray(ids, np.int64))
        seen = self.seen(*ids.shape, lengths)
        x = self.words(ids)
        for layer in self.layers:
            x = layer(x, seen)
        if x.ndim == 4:
            # Every pair has a vote, and the head is linear: the mean vote is the vote of the mean.
            x = average(x, seen)
        if not self.causal:
            batch, n, width = x.shape
            x = average(x.reshape(batch, 1, n, width), seen[:, :1]).reshape(batch, width)
        return self.head(x)

    def seen(self, batch: int, n: int, lengths: Any) -> pf.Tensor:
        """(B or 1, n, n) bool: True where word i may see word j."""
        if self.causal:
            return pf.tensor(np.tri(n, dtype=bool)[None])
        ends = np.full(batch, n) if lengths is None else np.asarray(lengths)
        return pf.tensor(np.repeat(np.arange(n) < ends[:, None, None], n, axis=1))


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


class Convolution(nn.Module):
    """y_i = relu(W [x_(i-1); x_i; x_(i+1)] + b), or of the last three words if causal: (B, n, C) -> (B, n, C)."""

    def __init__(self, inputs: int, outputs: int, causal: bool) -> None:
        super().__init__()
        self.before, self.after = (KERNEL - 1, 0) if causal else (KERNEL // 2, KERNEL // 2)
        self.conv = nn.Conv1d(inputs, outputs, KERNEL)

    def forward(self, x: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
        x = ops.pad(x.transpose(0, 2, 1), [(0, 0), (0, 0), (self.before, self.after)])
        return ops.relu(self.conv(x)).transpose(0, 2, 1)


class PairNetwork(nn.Module):
    """f(x_i, x_j) = W2 relu(W1 [x_i; x_j] + b1) + b2 for every pair: (B, n, C) -> (B, n, n, outputs)."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.left = nn.Linear(width, width)
        self.right = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, outputs)

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        # W1 [x_i; x_j] is the sum of a left and a right part, each needed only n times.
        batch, n, width = x.shape
        left = self.left(x).reshape(batch, n, 1, width)
        right = self.right(x).reshape(batch, 1, n, width)
        return self.out(ops.relu(left + right))


class Pairs(nn.Module):
    """A network on every pair, and nothing more: n vectors become n x n: (B, n, C) -> (B, n, n, C)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pairs = PairNetwork(width, width)

    def forward(self, x: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
        return self.pairs(x)


class PairSum(nn.Module):
    """y_i = mean_j f(x_i, x_j), a sum over j divided by their number: (B, n, C) -> (B, n, C)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pairs = PairNetwork(width, width)

    def forward(self, x: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
        return average(self.pairs(x), seen)


class ImportanceSum(nn.Module):
    """y_i = sum_j softmax_j(s(x_i, x_j)) f(x_i, x_j), s another network on pairs: (B, n, C) -> (B, n, C)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pairs = PairNetwork(width, width)
        self.scores = PairNetwork(width, 1)

    def forward(self, x: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
        scores = self.scores(x)
        return weighted_sum(importance(scores.reshape(scores.shape[:3]), seen), self.pairs(x))


class SelfAttention(nn.Module):
    """y_i = sum_j softmax_j(q_i . k_j / sqrt(C)) v_j, with q, k, v linear in x: (B, n, C) -> (B, n, C)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def forward(self, x: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
        scores = ops.matmul(self.query(x), self.key(x), transpose_b=True) * x.shape[-1] ** -0.5
        return importance(scores, seen) @ self.value(x)


class AttentionMLP(nn.Module):
    """y_i = mlp(attention(x)_i): each word thinks alone about what it gathered."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = SelfAttention(width)
        self.mlp = nn.MLP(width)

    def forward(self, x: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
        return self.mlp(self.attention(x, seen))


class Residual(AttentionMLP):
    """x + attention(x), then x + mlp(x): a layer only adds to what is there."""

    def forward(self, x: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
        x = x + self.attention(x, seen)
        return x + self.mlp(x)


class Normalised(AttentionMLP):
    """x + attention(norm(x)), then x + mlp(norm(x)): what a layer reads has always the same scale."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.attention_norm = nn.LayerNorm(width)
        self.mlp_norm = nn.LayerNorm(width)

    def forward(self, x: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
        x = x + self.attention(self.attention_norm(x), seen)
        return x + self.mlp(self.mlp_norm(x))


class Heads(nn.Module):
    """H attentions side by side, each on C / H numbers of the vector, mixed by one more matrix."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.mix = nn.Linear(width, width)

    def forward(self, x: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
        batch, n, width = x.shape
        q, k, v = (f(x).reshape(batch, n, self.heads, -1) for f in (self.query, self.key, self.value))
        gathered = ops.attention(q, k, v, mask=seen.reshape(-1, 1, n, n))
        return self.mix(gathered.reshape(batch, n, width))


class Transformer(Normalised):
    """The last rung: x + heads(norm(x)), then x + mlp(norm(x)), which is `nn.TransformerBlock`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width)
        self.attention = Heads(width, heads)


class OneHotPosition(nn.Module):
    """The place as n more numbers, all 0 but one, and a matrix back to C: (B, n, C) -> (B, n, C)."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.register_buffer("eye", pf.tensor(np.eye(length, dtype=np.float32)), persistent=False)
        self.join = nn.Linear(width + length, width)

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        batch, n, _ = x.shape
        places = pf.zeros(batch, n, self.eye.shape[0], dtype=x.dtype) + self.eye[:n]
        return self.join(ops.concat([x, places], axis=2))


class SinusoidalPosition(nn.Module):
    """x plus sines and cosines of the place, wavelengths from 2 pi to 20,000 pi (Vaswani et al. 2017, 3.5)."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        angles = pf.tensor(np.arange(length)[:, None] * frequencies(width))
        waves = np.stack([ops.sin(angles).numpy(), ops.cos(angles).numpy()], axis=2).reshape(length, -1)
        self.register_buffer("waves", pf.tensor(SPREAD * waves.astype(np.float32)), persistent=False)

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        return x + self.waves[: x.shape[1]]


class LearnedPosition(nn.Module):
    """x plus a learned vector of the place."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.places = nn.init.normal(length, width, std=SPREAD)

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        return x + self.places[: x.shape[1]]


class RotaryPosition(nn.Module):
    """x turned, two numbers at a time, by an angle that grows with the place (Su et al. 2021)."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", pf.tensor(frequencies(width)), persistent=False)

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        batch, n, width = x.shape
        turned = ops.rope(x.reshape(batch, n, 1, width), pf.arange(n), self.frequencies)
        return turned.reshape(batch, n, width)


def average(values: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
    """The mean over j of values (B, m, n, C), of those that word i may see by seen (B or 1, m, n): (B, m, C)."""
    seen = ops.cast(seen, values.dtype)
    return weighted_sum(seen / seen.sum(axis=-1, keepdims=True), values)


def weighted_sum(weights: pf.Tensor, values: pf.Tensor) -> pf.Tensor:
    """sum_j weights_ij values_ij: (B or 1, m, n), (B, m, n, C) -> (B, m, C)."""
    return (weights.reshape(*weights.shape, 1) * values).sum(axis=2)


def importance(scores: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
    """Softmax over j of scores (B, n, n), 0 where word i may not see word j."""
    return ops.softmax(ops.where(seen, scores, -float("inf")))


def frequencies(width: int, base: float = 10000.0) -> np.ndarray:
    """base^(-2r / C) for r from 0 to C / 2 - 1, float64."""
    return ops.power(base, pf.tensor(-2.0 * np.arange(width // 2) / width)).numpy()


POSITIONS: dict[str, type] = {
    "one-hot": OneHotPosition,
    "sinusoidal": SinusoidalPosition,
    "learned": LearnedPosition,
    "rotary": RotaryPosition,
}

# From the first rung with words on: name -> (layer, how it knows places).
WORD_RUNGS: dict[str, tuple[type, str | None]] = {
    "convolution": (Convolution, None),
    "pairs": (Pairs, None),
    "sum": (PairSum, None),
    "sum + one-hot": (PairSum, "one-hot"),
    "sum + sinusoidal": (PairSum, "sinusoidal"),
    "sum + learned": (PairSum, "learned"),
    "sum + rotary": (PairSum, "rotary"),
    "importance": (ImportanceSum, "learned"),
    "attention": (SelfAttention, "learned"),
    "mlp": (AttentionMLP, "learned"),
    "residual": (Residual, "learned"),
    "norm": (Normalised, "learned"),
    "transformer": (Transformer, "learned"),
}


def make_rung(name: str, size: Size) -> WordModel:
    """The word model of a rung, freshly initialised from `pf.manual_seed`'s stream.

    Raises:
        ValueError: there is no rung of this name.
    """
    if name not in WORD_RUNGS:
        raise ValueError(f"make_rung: expected one of {', '.join(WORD_RUNGS)}, got {name!r}")
    layer, position = WORD_RUNGS[name]
    if layer is Convolution:
        widths = [size.vocab, *[size.width] * size.layers]
        return WordModel(
            OneHot(size.vocab), [Convolution(a, b, size.causal) for a, b in itertools.pairwise(widths)], size
        )
    words: list[nn.Module] = [Words(size.vocab, size.width)]
    if position is not None:
        words.append(POSITIONS[position](size.length, size.width))
    options = {"heads": size.heads} if layer is Transformer else {}
    # A second layer on n x n vectors would look at n^4 pairs.
    layers = 1 if layer is Pairs else size.layers
    return WordModel(nn.Sequential(*words), [layer(size.width, **options) for _ in range(layers)], size)
