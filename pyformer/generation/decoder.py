"""Texts in the making, a token or more a step: rows join and leave while others go on."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import _core, nn
from pyformer.generation.drafts import MOST, Drafts
from pyformer.generation.prompt_cache import PromptCache
from pyformer.generation.prompts import read_prompt
from pyformer.generation.sampling import Sampler, check_int
from pyformer.generation.steps import Steps

# Packing a weight reads and writes it once, as much as a few tokens do.
PACK_FROM_TOKENS = 4
# A prompt is read in parts of so many tokens, which bounds the memory that reading it takes.
PART = 512


def _release(projections: Sequence[nn.Projection]) -> None:
    for projection in projections:
        projection.release()


@dataclass
class _Row:
    number: int
    tokens: list[int]  # the whole text
    start: int  # how many of the tokens are the prompt's
    begin: int  # the place of the first token that the model still sees
    window: list[int]  # the tokens that the model reads next, and those guessed to follow
    sampler: Sampler
    drafts: Drafts | None
    guess: list[int] = field(default_factory=list)  # the end of the window
    computed_by: list[Any] = field(default_factory=list)  # what the prompt cache calls this model
    # Results of the step that is under way, or that an exception broke off:
    logits: np.ndarray | None = None  # (1 + guess, V), after what the model has read
    chosen: list[int] = field(default_factory=list)  # the tokens drawn from the logits

    @property
    def is_chosen(self) -> bool:
        """Whether all is drawn that the logits are good for: up to the first guess that is wrong."""
        done = len(self.chosen)
        return done > len(self.guess) or (done > 0 and self.chosen[-1] != self.guess[done - 1])


class Decoder:
    """Rows of text that a model continues, each by its own sampler; no bit of one depends on the others.

    The state of the texts is here, none in the model, so each thread can have a decoder of the same one.
    While there are rows, the model's weights are packed, which takes their memory again.

    Args:
        model: a language model: it has `longest`, `reread_at`, `new_cache`, `next_logits` and `logits_at`.
        speculate: guess what a text says next from what it said before, and read the guess along: `advance` gives
            several tokens where it is right. No bit depends on it.
        prompt_cache: a `PromptCache` of this model, or None.
        record: make steps that are like the one before them from a recording of its kernel calls, where that can be,
            without Python: quicker, and the same bits. `steps` says how many were, and why others were not.

    Raises:
        ValueError: speculate or prompt_cache are not for this model; later, a prompt is empty, a row is not there, or
            logits are not finite.
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

    def __init__(
        self, model: Any, *, speculate: bool = False, prompt_cache: PromptCache | None = None, record: bool = True
    ) -> None:
        self.model = model
        self._cache = model.new_cache()
        self._has_keys = isinstance(self._cache, nn.KVCache)
        if speculate and not self._has_keys:
            raise ValueError(
                f"Decoder: speculate is not for {type(model).__name__}, whose state can't take back a guess"
            )
        if prompt_cache is not None:
            prompt_cache.check(model)
        self.speculate, self._prompts = speculate, prompt_cache
        self._running: list[_Row] = []  # in the order of the cache's rows
        self._waiting: list[_Row] = []  # for the first reading of their windows
        self._added, self._room = 0, 0
        self._packed: weakref.finalize | None = None
        self.steps = Steps(model) if self._has_keys and record else None

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
        new_tokens = None if new_tokens is None else check_int("new_tokens", new_tokens, 0)
        if new_tokens is None or new_tokens >= PACK_FROM_TOKENS:
            self._pack()
        begin = 0 if len(tokens) <= self.model.longest else len(tokens) - self._half
        drafts = Drafts(tokens) if self.speculate else None
        row = _Row(self._added, tokens, len(tokens), begin, tokens[begin:], sampler, drafts)
        more = (new_tokens or 0) + (MOST if self.speculate else 0)
        self._room = max(self._room, min(self.model.longest, len(row.window) + more))
        self._waiting.append(row)
        self._added += 1
        return row.number

    def remove(self, row: int) -> None:
        """Ends a row; ValueError if there is none of this number."""
        if row not in self.rows:
            raise ValueError(f"Decoder: row must be one of {self.rows}, got {row}")
        self._waiting = [r for r in self._waiting if r.number != row]
        stay = [i for i, r in enumerate(self._running) if r.number != row]
        self._remember(set(range(len(self._running))) - set(stay))
        self._keep(stay)
        if not self._waiting and not self._running:
            self._unpack()

    def close(self) -> None:
        """Ends all rows."""
        self._remember(range(len(self._running)))
        self._waiting, self._running = [], []
        self._cache = self.model.new_cache()
        self._unpack()

    def _remember(self, places: Any) -> None:
        """Tells the prompt cache what the rows at these places have read."""
        if self._prompts is not None:
            for place in places:
                row, read = self._running[place], int(self._cache.length[place])
                self._prompts.add(row.computed_by, row.tokens[row.begin :][:read], self._cache, place)

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
        self._forget_steps()
        if self._packed is not None:
            self._packed()
            self._packed = None

    def step(self) -> dict[int, int]:
        """The next token of every row, by its number; {} if there are none.

        ValueError, naming the row, where logits are not finite, and where the decoder speculates: `advance` is then
        what to call. After an exception the next step does what is left of this one: no row reads or draws twice, and a
        row that can't go on can be removed.
        """
        if self.speculate:
            raise ValueError("Decoder: step gives one token a row, and this decoder speculates: call advance")
        return {number: tokens[0] for number, tokens in self.advance().items()}

    def advance(self) -> dict[int, list[int]]:
        """The next tokens of every row, by its number: one, or more where guesses came true. Otherwise as `step`."""
        with nn.inference():
            if all(row.logits is None for row in self._running):
                self._slide()
                self._continue()
            self._start()
        rows = sorted(self._running, key=lambda row: row.number)
        for row in rows:
            while not row.is_chosen:
                text = row.tokens + row.chosen if row.chosen else row.tokens
                token = row.sampler(row.logits[len(row.chosen)], row.number, text, row.start)
                row.chosen.append(token)
        if any(len(row.chosen) <= len(row.guess) for row in rows):  # what was guessed wrong was read in vain
            vain = [len(row.guess) + 1 - len(row.chosen) for row in self._running]
            self._cache.truncate(self._cache.length - vain)
        result = {row.number: row.chosen for row in rows}
        for row in rows:
            self._take(row)
        return result

    def _take(self, row: _Row) -> None:
        """Makes what was drawn a part of the row's text."""
        row.tokens += row.chosen
        if row.drafts is not None:
            row.drafts.learn(len(row.guess), len(row.chosen) - 1)
            row.drafts.extend(row.chosen)
        row.window, row.guess, row.logits, row.chosen = row.chosen[-1:], [], None, []

    def _forget_steps(self) -> None:
        """The recording reads the cache's memory, which is about to be given back."""
        if self.steps is not None:
            self.steps.forget()

    def _keep(self, places: list[int]) -> None:
        if len(places) < len(self._running):
            self._forget_steps()
            self._cache.keep(places)
            self._running = [self._running[place] for place in places]

    def _slide(self) -> None:
        """Rows whose context is full go on from their last half, those that outgrow `reread_at` from their start, as if
        they had just come."""
        again = []
        for place, length in enumerate(self._cache.length.tolist()):
            row = self._running[place]
            if length == self.model.longest:
                row.begin = len(row.tokens) - self._half
            elif length == self.model.reread_at:
                row.begin = 0
            else:
                continue
            row.window = row.tokens[row.begin :]
            again.append(place)
            self._waiting.append(row)
        if again:
            self._keep([i for i in range(len(self._running)) if i not in set(again)])

    @property
    def _half(self) -> int:
        return max(1, self.model.longest // 2)

    def _continue(self) -> None:
        """Finds the logits after the last token of the rows that run, and after what is guessed to follow it."""
        if not self._running:
            return
        if self.speculate:
            self._guess()
        for row in self._running if self._prompts is not None else ():
            if row.computed_by[:1] != [_core.precision()]:
                row.computed_by = []
        windows = [row.window + row.guess for row in self._running]
        before = self._cache.mark()
        try:
            self._read(self._running, windows, self._cache)
        except BaseException:
            self._cache.go_back(before)
            raise

    def _guess(self) -> None:
        """Guesses what follows in each row, as far as the context goes."""
        again, room = self.model.reread_at, self.model.longest - self._cache.longest - 1
        for row, length in zip(self._running, self._cache.length.tolist(), strict=True):
            row.guess = row.drafts.guess(room if again is None or length > again else min(room, again - length - 1))

    def _start(self) -> None:
        """Finds the logits after the windows of the rows that wait; from now on they run."""
        if not self._waiting:
            return
        windows = [row.window for row in self._waiting]
        room = max(self._room, *map(len, windows))
        if self._prompts is None:
            cache = self.model.new_cache(len(windows), room)
            self._read_parts(self._waiting, windows, cache)
        else:
            cache = self._start_from(self._prompts, windows, room)
        self._forget_steps()
        self._cache.join(cache)
        self._running += self._waiting
        self._waiting = []

    def _start_from(self, prompts: PromptCache, windows: list[list[int]], room: int) -> Any:
        """A cache that has read the windows, which begin with what the prompt cache has of them."""
        parts, computed_by = [], prompts.check(self.model)
        for row in self._waiting:
            row.computed_by = computed_by
        for window in windows:
            part = prompts.find(self.model, window)
            parts.append(self.model.new_cache(1, room) if part is None else part)
        rest = [window[part.longest :] for window, part in zip(windows, parts, strict=True)]
        rows, cache = self._waiting, self.model.new_cache()
        # Rows that are read together take the room of the longest cached beginning plus the longest rest. Where the
        # model has less room than that, each row is read alone.
        apart = max(part.longest for part in parts) + max(map(len, rest)) > self.model.longest
        for i, part in enumerate(parts):
            if apart:
                self._read_parts(rows[i : i + 1], rest[i : i + 1], part)
            cache.join(part)
        cache.reserve(room)
        if not apart:
            self._read_parts(rows, rest, cache)
        return cache

    def _read_parts(self, rows: list[_Row], windows: list[list[int]], cache: Any) -> None:
        """As `_read`, a part of each window after the other where the model can."""
        longest = max(map(len, windows))
        part = PART if self._has_keys and self.model.reread_at is None else longest
        for begin in range(0, longest, part):
            self._read(rows, [window[begin : begin + part] for window in windows], cache, begin > 0)

    def _read(self, rows: list[_Row], windows: list[list[int]], cache: Any, later: bool = False) -> None:
        """Reads the windows, and keeps the logits after the last token of each and of its guess."""
        counts = np.array([len(window) for window in windows], np.int64)
        ids = np.zeros((len(counts), int(counts.max())), np.int64)
        for row, window in zip(ids, windows, strict=True):
            row[: len(window)] = window
        if later or any(row.guess for row in rows):
            wanted = [n if n == 0 else 1 + len(row.guess) for row, n in zip(rows, counts.tolist(), strict=True)]
            places: list[int] = []
            for i, (n, many) in enumerate(zip(counts.tolist(), wanted, strict=True)):
                places += range(i * ids.shape[1] + n - many, i * ids.shape[1] + n)
            logits = self.model.logits_at(ids, counts, cache, np.array(places, np.int64))
        elif self.steps is not None and cache is self._cache and ids.shape[1] == 1 and counts.min() == 1:
            wanted, logits = [1] * len(rows), self.steps.next_logits(ids, cache)
        else:
            wanted, logits = [1] * len(rows), self.model.next_logits(ids, counts, cache)
        logits = logits.to("cpu")
        if logits.dtype.itemsize == 2:  # NumPy has no bfloat16
            logits = logits.to(pf.float32)
        begin = 0
        found = logits.numpy()
        for row, many in zip(rows, wanted, strict=True):
            if many:
                row.logits = found[begin : begin + many]
            begin += many
