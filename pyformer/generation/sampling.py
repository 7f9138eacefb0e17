"""How a next token is chosen from its logits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import pyformer as pf
from pyformer.float_mode import in_default_float_mode


class Sampler:
    """Picks the tokens of one text, with random numbers of its own.

    Args:
        temperature: divides the logits; 0 takes the likeliest, of equals the lowest id.
        top_k: sample from the k likeliest only.
        top_p: sample from the fewest likeliest that hold this much probability.
        seed: of the random numbers; None draws one from `pf.manual_seed`'s stream.

    Raises:
        ValueError: a setting is out of range; when called, the highest logit is not finite.
        TypeError: a setting has the wrong type.

    Example:
        >>> sampler = pf.generation.Sampler(temperature=0)
        >>> sampler(np.array([0.1, 2.0, -1.0]))
        1
    """

    def __init__(
        self,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
    ) -> None:
        self.temperature = read_number("temperature", temperature)
        if not 0.0 <= self.temperature < math.inf:
            raise ValueError(f"generate: temperature must be 0 or above, got {temperature}")
        if top_k is not None:
            check_int("top_k", top_k, 1)
        if top_p is not None and not 0.0 < read_number("top_p", top_p) <= 1.0:
            raise ValueError(f"generate: top_p must be in (0, 1], got {top_p}")
        if seed is not None:
            check_int("seed", seed, 0)
        self.top_k, self.top_p = top_k, top_p
        if self.temperature > 0.0:
            self._random = np.random.Generator(np.random.Philox(fresh_seed() if seed is None else int(seed)))

    @in_default_float_mode
    def __call__(self, logits: np.ndarray, row: int = 0) -> int:
        """A token from logits (V,); ValueError, naming the row, where the highest is not finite."""
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
        total = np.cumsum(weights)
        drawn = self._random.random() * total[-1]
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


def fresh_seed() -> int:
    """A seed from the library's own generator, which manual_seed decides."""
    high, low = (pf.rand(2, dtype=pf.float64, device="cpu").numpy() * 2.0**31).astype(np.int64)
    return (int(high) << 31) + int(low)


def check_int(name: str, value: Any, low: int | None) -> None:
    """TypeError or ValueError, which name `generate`, unless `value` is an int of at least `low`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"generate: {name} must be an int, got {type(value).__name__}")
    if low is not None and value < low:
        raise ValueError(f"generate: {name} must be at least {low}, got {value}")


def read_number(name: str, value: Any) -> float:
    """`value` as a float; TypeError, which names `generate`, unless it is a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"generate: {name} must be a number, got {type(value).__name__}")
    return float(value)
