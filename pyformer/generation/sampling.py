"""Sampling of text, shared by the models that predict a next token."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np

import pyformer as pf


class Decoder(Protocol):
    """A model in the middle of generating: the keys and values seen so far, row by row."""

    def extend(self, ids: np.ndarray, positions: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Feeds ids (B, T) int64, row b at positions[b]..., of which those before lengths[b] count.

        Returns the logits (B, V) that follow the last token of each row. Writing again at
        positions already used replaces what was there.
        """
        ...


def generate(
    start: Callable[[int, int, int], Decoder],
    ids: Any,
    max_new_tokens: int,
    *,
    vocab_size: int,
    context_length: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    stream: Callable[[int, int], Any] | None = None,
    stop: int | Iterable[int] | None = None,
    pad_id: int = 0,
    overflow: str = "error",
) -> pf.Tensor | list[list[int]]:
    """The loop behind a model's `generate`; `start(rows, cache_length, new_tokens)` gives a
    Decoder."""
    prompts, rectangular = read_prompts(ids, vocab_size)
    _check_int("max_new_tokens", max_new_tokens, 0)
    choose = Chooser(len(prompts), temperature, top_k, top_p, seed)
    stops = _read_stops(stop)
    _check_int("pad_id", pad_id, None)
    if not -(2**63) <= pad_id < 2**63:
        raise ValueError(f"generate: pad_id must fit in int64, got {pad_id}")
    _check_room(prompts, max_new_tokens, context_length, overflow)
    if stream is not None and not callable(stream):
        raise TypeError(f"generate: stream must be a function of (row, token), got {type(stream).__name__}")
    with pf.no_grad():
        rows = _run(start, prompts, max_new_tokens, context_length, choose, stops, stream or _ignore)
    if not rectangular:
        return rows
    width = len(prompts[0]) + max_new_tokens
    out = np.full((len(rows), width), pad_id, np.int64)
    for row, tokens in enumerate(rows):
        out[row, : len(tokens)] = tokens
    return pf.tensor(out)


def _run(
    start: Callable[[int, int, int], Decoder],
    prompts: list[list[int]],
    max_new_tokens: int,
    context_length: int,
    choose: Chooser,
    stops: frozenset[int],
    stream: Callable[[int, int], Any],
) -> list[list[int]]:
    rows = [list(prompt) for prompt in prompts]
    if max_new_tokens == 0:
        return rows
    windows = [row if len(row) <= context_length else _half(row, context_length) for row in rows]
    longest = max(len(window) for window in windows)
    room = min(context_length, longest + max_new_tokens)
    decoder = start(len(rows), room, max_new_tokens)
    active = list(range(len(rows)))
    lengths, logits = _encode(decoder, windows)
    for remaining in range(max_new_tokens - 1, -1, -1):
        for row, token in zip(active, choose(logits, active), strict=True):
            rows[row].append(token)
            stream(row, token)
        active = [row for row in active if rows[row][-1] not in stops]
        if not active or remaining == 0:
            break
        full = [row for row in active if lengths[row] == context_length]
        if full:
            # Rows that aren't full are encoded again too: the same tokens give the same bits.
            windows = [row[-1:] for row in rows]
            for row in active:
                windows[row] = rows[row][-int(lengths[row]) - 1 :]
            for row in full:
                windows[row] = _half(rows[row], context_length)
            lengths, logits = _encode(decoder, windows)
        else:
            lengths[active] += 1
            last = np.array([[row[-1]] for row in rows], np.int64)
            logits = decoder.extend(last, lengths - 1, lengths)
    return rows


def _half(row: list[int], context_length: int) -> list[int]:
    return row[-max(1, context_length // 2) :]


def _encode(decoder: Decoder, windows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.array([len(window) for window in windows], np.int64)
    ids = np.zeros((len(windows), int(lengths.max())), np.int64)
    for row, window in enumerate(windows):
        ids[row, : len(window)] = window
    return lengths, decoder.extend(ids, np.zeros_like(lengths), lengths)


def _ignore(row: int, token: int) -> None:
    pass


class Chooser:
    """Picks the next token of each row from its logits; row i draws from a generator of its own,
    seeded with seed + i."""

    def __init__(
        self,
        rows: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
    ) -> None:
        self.temperature = _read_number("temperature", temperature)
        if not 0.0 <= self.temperature < math.inf:
            raise ValueError(f"generate: temperature must be 0 or above, got {temperature}")
        if top_k is not None:
            _check_int("top_k", top_k, 1)
        if top_p is not None and not 0.0 < _read_number("top_p", top_p) <= 1.0:
            raise ValueError(f"generate: top_p must be in (0, 1], got {top_p}")
        if seed is not None:
            _check_int("seed", seed, 0)
        self.top_k, self.top_p = top_k, top_p
        if self.temperature > 0.0:
            seed = _fresh_seed() if seed is None else int(seed)
            self.generators = [np.random.Generator(np.random.Philox(seed + row)) for row in range(rows)]

    def __call__(self, logits: np.ndarray, rows: list[int]) -> list[int]:
        """One token for each row in `rows`, from logits (B, V)."""
        return [self._choose(logits[row], row) for row in rows]

    def _choose(self, logits: np.ndarray, row: int) -> int:
        best = int(np.argmax(logits))
        if not np.isfinite(logits[best]):
            raise ValueError(f"generate: the logits of row {row} hold {logits[best]}")
        if self.temperature == 0.0:
            return best
        scores = logits.astype(np.float64)
        scores -= scores[best]
        # A tiny temperature overflows to -inf, which is the right limit.
        with np.errstate(over="ignore"):
            scores /= self.temperature
        ids = None if self.top_k is None else _highest(scores, self.top_k)
        # NumPy's own exp differs from one instruction set to another.
        weights = pf.ops.exp(pf.asarray(scores if ids is None else scores[ids])).numpy()
        if self.top_p is not None and self.top_p < 1.0:
            kept = _nucleus(weights, self.top_p)
            ids = kept if ids is None else ids[kept]
            weights = weights[kept]
        total = np.cumsum(weights)
        drawn = self.generators[row].random() * total[-1]
        index = min(int(np.searchsorted(total, drawn, side="right")), len(total) - 1)
        return index if ids is None else int(ids[index])


def _highest(scores: np.ndarray, k: int) -> np.ndarray:
    """Indices of the k highest scores in rising order; of equal scores the first ones."""
    if k >= scores.size:
        return np.arange(scores.size)
    threshold = np.partition(scores, scores.size - k)[scores.size - k]
    above = np.flatnonzero(scores > threshold)
    equal = np.flatnonzero(scores == threshold)[: k - above.size]
    return np.sort(np.concatenate([above, equal]))


def _nucleus(weights: np.ndarray, top_p: float) -> np.ndarray:
    """Indices, in rising order, of the fewest highest weights that hold `top_p` of the sum."""
    total = float(weights.sum())
    # All weights below this together hold less than 1 - top_p, so the sort can skip them.
    candidates = np.flatnonzero(weights >= total * (1.0 - top_p) / weights.size)
    order = candidates[np.argsort(-weights[candidates], kind="stable")]
    enough = int(np.searchsorted(np.cumsum(weights[order]), top_p * total, side="left")) + 1
    return np.sort(order[:enough])


def _fresh_seed() -> int:
    # Drawn from the library's generator, so manual_seed decides it.
    high, low = (pf.rand(2, dtype=pf.float64).numpy() * 2.0**31).astype(np.int64)
    return (int(high) << 31) + int(low)


def read_prompts(ids: Any, vocab_size: int) -> tuple[list[list[int]], bool]:
    """(prompts, whether they came as, or amount to, a 2-D array) from any form that is accepted."""
    if isinstance(ids, (list, tuple)):
        rows = [_read_row(row) for row in ids]
        rectangular = len({row.size for row in rows}) == 1
    else:
        array = np.asarray(ids.numpy() if isinstance(ids, pf.Tensor) else ids)
        if array.ndim != 2:
            raise ValueError(f"generate: ids must be (B, T), got shape {array.shape}")
        rows, rectangular = list(array), True
    if not rows:
        raise ValueError("generate: expected at least one prompt, got none")
    return [_checked(index, row, vocab_size) for index, row in enumerate(rows)], rectangular


def _read_row(row: Any) -> np.ndarray:
    array = np.asarray(row.numpy() if isinstance(row, pf.Tensor) else row)
    if array.ndim != 1:
        raise ValueError(f"generate: each prompt must be a list of ids, got shape {array.shape}")
    return array


def _checked(index: int, row: np.ndarray, vocab_size: int) -> list[int]:
    if row.size == 0:
        raise ValueError(f"generate: prompt {index} is empty")
    if row.dtype.kind not in "iu":
        raise TypeError(f"generate: ids must be integers, got {row.dtype}")
    # Before any conversion: unsigned numbers may not fit in int64.
    if row.min() < 0 or row.max() >= vocab_size:
        bad = row[(row < 0) | (row >= vocab_size)][0]
        raise IndexError(f"generate: id {bad} of prompt {index} is not in [0, {vocab_size})")
    return row.astype(np.int64).tolist()


def _read_stops(stop: int | Iterable[int] | None) -> frozenset[int]:
    if stop is None:
        return frozenset()
    stops = [stop] if isinstance(stop, (int, np.integer)) else list(stop)
    for token in stops:
        _check_int("stop", token, None)
    return frozenset(int(token) for token in stops)


def _check_room(prompts: list[list[int]], max_new_tokens: int, context_length: int, overflow: str) -> None:
    if overflow not in ("error", "slide"):
        raise ValueError(f"generate: overflow must be 'error' or 'slide', got {overflow!r}")
    longest = max(len(prompt) for prompt in prompts)
    if overflow == "error" and longest + max_new_tokens > context_length:
        raise ValueError(
            f"generate: {longest} tokens of prompt and {max_new_tokens} new ones exceed the "
            f"context length {context_length}; overflow='slide' goes on with the last half"
        )


def _check_int(name: str, value: Any, low: int | None) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"generate: {name} must be an int, got {type(value).__name__}")
    if low is not None and value < low:
        raise ValueError(f"generate: {name} must be at least {low}, got {value}")


def _read_number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"generate: {name} must be a number, got {type(value).__name__}")
    return float(value)
