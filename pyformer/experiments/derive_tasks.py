"""The tasks that the rungs of the derivation are trained on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyformer import data, datasets
from pyformer.models.derivation import Size
from pyformer.tokenizers import WORD_PATTERNS, WordTokenizer

LENGTH, VOCAB, BATCH = 32, 2000, 32
HELD_OUT_BATCHES = 64
PADDING, RARE = 0, 1
IGNORED = -100
CUT = "latin"

PICTURES, SENTIMENT, NEXT_WORD = "pictures", "sentiment", "next word"

Batch = tuple[tuple[Any, ...], np.ndarray]


@dataclass(frozen=True)
class Task:
    """Batches to train on, as a function of the step alone, and held-out batches.

    A batch is (inputs, targets): the model is called as model(*inputs); targets are int64 of the shape of its scores
    without the last axis, -100 where nothing is asked.
    """

    draw: Callable[[int], Batch]
    held_out: Sequence[Batch]
    size: Size | None = None
    tokenizer: WordTokenizer | None = None


def words_of(text: str) -> list[str]:
    """Lower-case words, numbers and signs."""
    return re.findall(WORD_PATTERNS[CUT], text.lower())


def vocabulary(words: Iterable[str], size: int) -> dict[str, int]:
    """Ids of the most frequent words; 0 is for padding, 1 for all other words."""
    ranked = sorted(Counter(words).items(), key=lambda item: (-item[1], item[0]))
    return {word: number for number, (word, _) in enumerate(ranked[: size - 2], start=2)}


def encode(words: Iterable[str], ids: dict[str, int]) -> np.ndarray:
    """int64 ids of words."""
    return np.array([ids.get(word, RARE) for word in words], np.int64)


def random_numbers(seed: int, step: int) -> np.random.Generator:
    """The generator of a step: batches depend on seed and step alone."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, step, 0]))


def pictures_task(
    images: np.ndarray, labels: np.ndarray, test_images: np.ndarray, test_labels: np.ndarray, seed: int = 0
) -> Task:
    """Classes, int64 (N,), of pictures, uint8 (N, 28, 28)."""

    def take(pictures: np.ndarray, classes: np.ndarray, rows: Any) -> Batch:
        return (pictures[rows][:, None].astype(np.float32) / 255.0,), classes[rows]

    def draw(step: int) -> Batch:
        return take(images, labels, random_numbers(seed, step).integers(0, len(images), BATCH))

    starts = range(0, len(test_images), BATCH)
    return Task(draw, [take(test_images, test_labels, slice(i, i + BATCH)) for i in starts])


def sentiment_task(texts: Sequence[str], labels: np.ndarray, seed: int = 0) -> Task:
    """Is a sentence positive? Words beyond the first 32 are cut off; a fifth of the sentences is held out."""
    split = [words_of(text)[:LENGTH] or ["."] for text in texts]
    train, tests = datasets.train_test_split(len(split))
    known = vocabulary((word for row in train for word in split[row]), VOCAB)
    ids = np.full((len(split), LENGTH), PADDING)
    for row, words in enumerate(split):
        ids[row, : len(words)] = encode(words, known)
    lengths = np.array([len(words) for words in split])

    def take(rows: np.ndarray) -> Batch:
        return (ids[rows], lengths[rows]), labels[rows]

    held_out = [take(tests[i : i + BATCH]) for i in range(0, tests.size, BATCH)]
    size = Size(len(known) + 2, LENGTH, int(labels.max()) + 1, causal=False)
    tokenizer = WordTokenizer(["[padding]", "[rare]", *known], RARE, CUT)
    return Task(lambda step: take(random_numbers(seed, step).choice(train, BATCH)), held_out, size, tokenizer)


def next_word_task(text: str, seed: int = 0) -> Task:
    """Which word comes next? The last tenth of the text is held out."""
    words = words_of(text)
    known = vocabulary(words[: len(words) - int(len(words) * data.VALIDATION_FRACTION)], VOCAB)
    train, validation = data.split(encode(words, known), LENGTH)
    windows = data.validation_batches(validation, batch=BATCH, context_length=LENGTH, count=HELD_OUT_BATCHES)
    size = Size(len(known) + 2, LENGTH, len(known) + 2, causal=True)
    tokenizer = WordTokenizer(["[padding]", "[rare]", *known], RARE, CUT)

    def draw(step: int) -> Batch:
        ids, targets = data.sample_batch(train, seed=seed, step=step, batch=BATCH, context_length=LENGTH)
        return (ids,), targets

    return Task(draw, [((ids,), targets) for ids, targets in windows], size, tokenizer)


def made_task(make: Callable[[np.random.Generator], Batch], size: Size, seed: int) -> Task:
    """A task of made-up batches; the held-out ones are never drawn."""
    held_out = [make(random_numbers(seed + 1, step)) for step in range(16)]
    return Task(lambda step: make(random_numbers(seed, step)), held_out, size)


def order_task(seed: int = 0, n: int = 16, others: int = 14) -> Task:
    """Does word 0 come before word 1? Both stand somewhere among other words."""

    def make(rng: np.random.Generator) -> Batch:
        ids = rng.integers(2, 2 + others, (BATCH, n))
        places = rng.permuted(np.tile(np.arange(n), (BATCH, 1)), axis=1)[:, :2]
        np.put_along_axis(ids, places, np.array([[0, 1]]), axis=1)
        return (ids,), (places[:, 0] < places[:, 1]).astype(np.int64)

    return made_task(make, Size(2 + others, n, 2, causal=False), seed)


def distance_task(distances: Sequence[int], seed: int = 0, keys: int = 16, others: int = 32) -> Task:
    """Which key word came `distance` words before the end? Between them and before stand words that don't matter."""

    def make(rng: np.random.Generator) -> Batch:
        ids = rng.integers(keys, keys + others, (BATCH, LENGTH))
        targets = np.full((BATCH, LENGTH), IGNORED)
        targets[:, -1] = rng.integers(0, keys, BATCH)
        ids[np.arange(BATCH), LENGTH - 1 - rng.choice(distances, BATCH)] = targets[:, -1]
        return (ids,), targets

    return made_task(make, Size(keys + others, LENGTH, keys, causal=True), seed)


def lookup_task(n: int, seed: int = 0, words: int = 16) -> Task:
    """The last of n words names a place: which word stands there?"""

    def make(rng: np.random.Generator) -> Batch:
        ids = rng.integers(0, words, (BATCH, n))
        places = rng.integers(0, n - 1, BATCH)
        targets = np.full((BATCH, n), IGNORED)
        targets[:, -1] = ids[np.arange(BATCH), places]
        ids[:, -1] = words + places
        return (ids,), targets

    return made_task(make, Size(words + n - 1, n, words, causal=True), seed)
