"""The derivation of the transformer as a ladder of small models; docs/derivation.md tells the story.

Each rung is a layer that takes n word vectors and gives n word vectors, and mends what the one before broke. The frame
around it, `WordModel`, is the same for all: words become vectors, layers mix them, a linear head reads them.

Letters: B sentences, n words in each, V words in the vocabulary, C the width of a word's vector, H heads.
"""

from __future__ import annotations

import itertools

from pyformer import nn
from pyformer.models.derivation.frame import (
    KERNEL,
    SPREAD,
    OneHot,
    PictureConvolution,
    Size,
    WordModel,
    Words,
    average,
    importance,
    weighted_sum,
)
from pyformer.models.derivation.layers import (
    AttentionMLP,
    Convolution,
    Heads,
    ImportanceSum,
    Normalised,
    PairNetwork,
    Pairs,
    PairSum,
    Residual,
    SelfAttention,
    Transformer,
)
from pyformer.models.derivation.positions import (
    LearnedPosition,
    OneHotPosition,
    RotaryPosition,
    SinusoidalPosition,
    frequencies,
)

__all__ = [
    "KERNEL",
    "POSITIONS",
    "SPREAD",
    "WORD_RUNGS",
    "AttentionMLP",
    "Convolution",
    "Heads",
    "ImportanceSum",
    "LearnedPosition",
    "Normalised",
    "OneHot",
    "OneHotPosition",
    "PairNetwork",
    "PairSum",
    "Pairs",
    "PictureConvolution",
    "Residual",
    "RotaryPosition",
    "SelfAttention",
    "SinusoidalPosition",
    "Size",
    "Transformer",
    "WordModel",
    "Words",
    "average",
    "frequencies",
    "importance",
    "make_rung",
    "weighted_sum",
]

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
