"""Texts in the making, one token a step: rows join and leave while others go on."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import nn
from pyformer.generation.prompts import read_prompt
from pyformer.generation.sampling import Sampler

# Packing a weight reads and writes it once, as much as a few tokens do.
PACK_FROM_TOKENS = 4


def _release(projections: Sequence[nn.Projection]) -> None:
    for projection in projections:
        projection.release()


@dataclass
class _Row:
    number: int
    tokens: list[int]  # the whole text
    window: list[int]  # those of them that the model reads next
    sampler: Sampler
    # Of the step that is under way, or that an exception broke off:
    logits: np.ndarray | None = None  # after what the model has read
    chosen: int | None = None  # the token drawn from them


class Decoder:
    """Rows of text that a model continues, each by its own sampler; no bit of one depends on the others.

    The state of the texts is here, none in the model, so each thread can have a decoder of the same one.
    While there are rows, the model's weights are packed, which takes their memory again.

    Args:
        model: a language model: it has `longest`, `reread_at`, `new_cache` and `next_logits`.

    Raises:
        ValueError: later, a prompt is empty, a row is not there, or logits are not finite.
        TypeError, IndexError: later, an id is no integer, or not in [0, V).

    Example:
        >>> from pyformer.generation import Decoder, Sampler
        >>> pf.manual_seed(0)
        >>> model = pf.models.GPT(pf.models.GPTConfig(10, 8, num_layers=1, num_heads=2, embed_dim=8))
        >>> decoder = Decoder(model)
        >>> first = decoder.add([1, 2, 3], Sampler(temperature=0))
        >>> list(decoder.step()) == [first]
        True
        >>> second = decoder.add([4], Sampler(seed=1))  # joins while the other goes on
        >>> sorted(decoder.step()) == [first, second]
        True
        >>> decoder.remove(first)
        >>> decoder.rows == [second]
        True
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._cache = model.new_cache()
        self._running: list[_Row] = []  # in the order of the cache's rows
        self._waiting: list[_Row] = []  # for the first reading of their windows
        self._added, self._room = 0, 0
        self._packed: weakref.finalize | None = None

    @property
    def rows(self) -> list[int]:
        """The numbers of the rows that go on."""
        return sorted(row.number for row in (*self._running, *self._waiting))

    def add(self, prompt: Sequence[int], sampler: Sampler, new_tokens: int | None = None) -> int:
        """The number of a new row that continues `prompt`, ids in [0, V), from the next step on.

        `new_tokens` says how many are expected, where that is known: memory is then taken once. A text that has
        reached the model's longest goes on from its last half, read again. ValueError for an empty prompt, TypeError
        for ids that are no integers, IndexError for one outside [0, V).
        """
        tokens = read_prompt("Decoder", prompt, self.model.config.vocab_size)
        if new_tokens is None or new_tokens >= PACK_FROM_TOKENS:
            self._pack()
        window = tokens if len(tokens) <= self.model.longest else self._half(tokens)
        self._room = max(self._room, min(self.model.longest, len(window) + (new_tokens or 0)))
        self._waiting.append(_Row(self._added, tokens, window, sampler))
        self._added += 1
        return self._added - 1

    def remove(self, row: int) -> None:
        """Ends a row; ValueError if there is none of this number."""
        if row not in self.rows:
            raise ValueError(f"Decoder: row must be one of {self.rows}, got {row}")
        self._waiting = [r for r in self._waiting if r.number != row]
        self._keep([i for i, r in enumerate(self._running) if r.number != row])
        if not self._waiting and not self._running:
            self._unpack()

    def close(self) -> None:
        """Ends all rows."""
        self._waiting, self._running = [], []
        self._cache = self.model.new_cache()
        self._unpack()

    def _pack(self) -> None:
        """Packs the weights, unless this decoder holds them packed, until `_unpack` or until this decoder is gone."""
        if self._packed is None:
            held: list[nn.Projection] = []
            self._packed = weakref.finalize(self, _release, held)
            self._packed.atexit = False
            for module in self.model.modules():
                if isinstance(module, nn.Projection) and module.hold():
                    held.append(module)

    def _unpack(self) -> None:
        if self._packed is not None:
            self._packed()
            self._packed = None

    def step(self) -> dict[int, int]:
        """The next token of every row, by its number; {} if there are none.

        ValueError, naming the row, where logits are not finite. After an exception the next step does what is left of
        this one: no row reads or draws twice, and a row that can't go on can be removed.
        """
        with nn.inference():
            if all(row.logits is None for row in self._running):
                self._slide()
                self._continue()
            self._start()
        rows = sorted(self._running, key=lambda row: row.number)
        for row in rows:
            if row.chosen is None:
                row.chosen = row.sampler(row.logits, row.number)
        result = {row.number: row.chosen for row in rows}
        for row in rows:
            row.tokens.append(row.chosen)
            row.window, row.logits, row.chosen = [row.chosen], None, None
        return result

    def _keep(self, places: list[int]) -> None:
        if len(places) < len(self._running):
            self._cache.keep(places)
            self._running = [self._running[place] for place in places]

    def _slide(self) -> None:
        """Rows whose context is full go on from their last half, those that outgrow `reread_at` from their start, as if
        they had just come."""
        again = []
        for place, length in enumerate(self._cache.length.tolist()):
            row = self._running[place]
            if length == self.model.longest:
                row.window = self._half(row.tokens)
            elif length == self.model.reread_at:
                row.window = list(row.tokens)
            else:
                continue
            again.append(place)
            self._waiting.append(row)
        if again:
            self._keep([i for i in range(len(self._running)) if i not in set(again)])

    def _half(self, tokens: list[int]) -> list[int]:
        return tokens[-max(1, self.model.longest // 2) :]

    def _continue(self) -> None:
        """Finds the logits after the last token of the rows that run."""
        if not self._running:
            return
        ids = np.array([row.window for row in self._running], np.int64)
        before = self._cache.mark()
        try:
            self._read(self._running, ids, np.ones(len(ids), np.int64), self._cache)
        except BaseException:
            self._cache.go_back(before)
            raise

    def _start(self) -> None:
        """Finds the logits after the windows of the rows that wait; from now on they run."""
        if not self._waiting:
            return
        counts = np.array([len(row.window) for row in self._waiting], np.int64)
        ids = np.zeros((len(counts), int(counts.max())), np.int64)
        for row, text in zip(ids, self._waiting, strict=True):
            row[: len(text.window)] = text.window
        cache = self.model.new_cache(len(counts), max(self._room, ids.shape[1]))
        self._read(self._waiting, ids, counts, cache)
        self._cache.join(cache)
        self._running += self._waiting
        self._waiting = []

    def _read(self, rows: list[_Row], ids: np.ndarray, counts: np.ndarray, cache: Any) -> None:
        logits = self.model.next_logits(ids, counts, cache).to("cpu")
        if logits.dtype.itemsize == 2:  # NumPy has no bfloat16
            logits = logits.to(pf.float32)
        for row, of_row in zip(rows, logits.numpy(), strict=True):
            row.logits = of_row
