"""How a next token is chosen from its logits."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

import pyformer as pf
from pyformer.float_mode import in_default_float_mode

_LARGEST = sys.float_info.max / 4.0


class Sampler:
    """Picks the tokens of one text. Its random numbers depend on the seed and on where a token stands alone.

    What is set works in this order, as in `transformers`: penalties, temperature, top_k, top_p, min_p.

    Args:
        temperature: divides the logits; 0 takes the likeliest, of equals the lowest id.
        top_k: sample from the k likeliest only.
        top_p: sample from the fewest likeliest that hold this much probability.
        seed: of the random numbers; None draws one from `pf.manual_seed`'s stream.
        min_p: sample from those that are at least this times as likely as the likeliest.
        repetition_penalty: of tokens that the text or its prompt has, logits above 0 are divided by it, those below
            multiplied.
        presence_penalty: is taken from the logits of tokens that the text has after its prompt.
        frequency_penalty: likewise, as often as they are there.

    Raises:
        ValueError: a setting is out of range; when called, the highest logit is not finite.
        TypeError: a setting has the wrong type.

    Source: Keskar et al. 2019, "CTRL" (repetition_penalty); Holtzman et al. 2020, "The curious case of neural text
    degeneration" (top_p); Nguyen et al. 2024, "Turning up the heat" (min_p).

    Example:
        >>> sampler = pf.generation.Sampler(temperature=0)
        >>> sampler(np.array([0.1, 2.0, -1.0]))
        1
        >>> pf.generation.Sampler(temperature=0, repetition_penalty=4.0)(np.array([0.1, 2.0, 0.6]), text=[1, 1])
        2
    """

    def __init__(
        self,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        *,
        min_p: float | None = None,
        repetition_penalty: float = 1.0,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
    ) -> None:
        self.temperature = read_number("temperature", temperature)
        if not 0.0 <= self.temperature < math.inf:
            raise ValueError(f"generate: temperature must be 0 or above and finite, got {temperature}")
        self.top_k = None if top_k is None else check_int("top_k", top_k, 1)
        self.top_p = None if top_p is None else read_number("top_p", top_p)
        self.min_p = None if min_p is None else read_number("min_p", min_p)
        if self.top_p is not None and not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"generate: top_p must be in (0, 1], got {top_p}")
        if self.min_p is not None and not 0.0 <= self.min_p <= 1.0:
            raise ValueError(f"generate: min_p must be in [0, 1], got {min_p}")
        seed = None if seed is None else check_int("seed", seed, 0)
        self.repetition_penalty = read_number("repetition_penalty", repetition_penalty)
        if not 0.0 < self.repetition_penalty < math.inf:
            raise ValueError(f"generate: repetition_penalty must be above 0 and finite, got {repetition_penalty}")
        self.presence_penalty = _finite("presence_penalty", presence_penalty)
        self.frequency_penalty = _finite("frequency_penalty", frequency_penalty)
        self._calls = 0
        if self.temperature > 0.0:
            words = np.random.SeedSequence(fresh_seed() if seed is None else seed).generate_state(2, np.uint64)
            self._key = int(words[0]) << 64 | int(words[1])

    @property
    def has_penalties(self) -> bool:
        """Whether what a text says changes what may follow."""
        return self.repetition_penalty != 1.0 or self.presence_penalty != 0.0 or self.frequency_penalty != 0.0

    @in_default_float_mode
    def __call__(self, logits: np.ndarray, row: int = 0, text: Sequence[int] | None = None, start: int = 0) -> int:
        """A token from logits (V,), after the tokens of `text`, of which the first `start` are the prompt's.

        Without a text the calls are counted instead of its tokens. ValueError, naming the row, where the highest logit
        is not finite.
        """
        position = self._calls if text is None else len(text)
        self._calls += 1
        if text:
            logits = self._penalised(logits, text, start)
        best = int(logits.argmax())
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
        weights = pf.ops.exp(pf.asarray(scores if ids is None else scores[ids], device="cpu")).numpy()
        if self.top_p is not None and self.top_p < 1.0:
            kept = _nucleus(weights, self.top_p)
            ids = kept if ids is None else ids[kept]
            weights = weights[kept]
        if self.min_p is not None and self.min_p > 0.0:
            kept = np.flatnonzero(weights >= self.min_p)  # the likeliest weighs 1
            ids = kept if ids is None else ids[kept]
            weights = weights[kept]
        total = np.cumsum(weights)
        drawn = np.random.Generator(np.random.Philox(key=self._key, counter=position)).random() * total[-1]
        index = min(int(np.searchsorted(total, drawn, side="right")), len(total) - 1)
        return index if ids is None else int(ids[index])

    def _penalised(self, logits: np.ndarray, text: Sequence[int], start: int) -> np.ndarray:
        """The logits after what is taken from tokens that the text has."""
        if not self.has_penalties:
            return logits
        scores, read = logits.astype(np.float64), np.unique(text)
        found = scores[read]
        with np.errstate(over="ignore"):
            if self.repetition_penalty != 1.0:
                scores[read] = np.where(found > 0.0, found / self.repetition_penalty, found * self.repetition_penalty)
            there, counts = np.unique(np.asarray(text[start:], np.int64), return_counts=True)
            scores[there] -= self.presence_penalty + self.frequency_penalty * counts
        # A penalty may be large; what was finite stays so, and so do differences.
        bounded = np.clip(scores[read], -_LARGEST, _LARGEST)
        scores[read] = np.where(np.isfinite(found), bounded, scores[read])
        return scores


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


def fresh_seed() -> int:
    """A seed from the library's own generator, which manual_seed decides."""
    high, low = (pf.rand(2, dtype=pf.float64, device="cpu").numpy() * 2.0**31).astype(np.int64)
    return (int(high) << 31) + int(low)


def check_int(name: str, value: Any, low: int | None) -> int:
    """`value` as a Python int; TypeError or ValueError, which name `generate`, unless it is one of at least `low`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"generate: {name} must be an int, got {type(value).__name__}")
    if low is not None and value < low:
        raise ValueError(f"generate: {name} must be at least {low}, got {value}")
    return int(value)


def read_number(name: str, value: Any) -> float:
    """`value` as a float; TypeError, which names `generate`, unless it is a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"generate: {name} must be a number, got {type(value).__name__}")
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        raise ValueError(f"generate: {name} must be a number that a float can hold, got {value}")
    return float(value)


def _finite(name: str, value: Any) -> float:
    number = read_number(name, value)
    if not math.isfinite(number):
        raise ValueError(f"generate: {name} must be finite, got {value}")
    return number
