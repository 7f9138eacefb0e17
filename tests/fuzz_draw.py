"""Random choices of fuzz_bits.py that can be made again one by one, and the hostile numbers that go into arrays."""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

DTYPES = ("float32", "float64", "bfloat16", "float16")
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65)
KINDS = ("plain", "ties", "zeros", "offset", "constant", "scaled", "scaled rows", "specials")
MOST_ELEMENTS = 60_000


class Draw:
    """Choices by name: each depends on the seed and its name only, and `fixed` overrides it.

    A finding is made smaller by running again with some choices fixed to simpler ones: smaller is simpler, `made` says
    what was chosen, as {name: (smallest, value)}.
    """

    def __init__(self, seed: int, fixed: dict[str, int] | None = None) -> None:
        self.seed, self.fixed = seed, fixed or {}
        self.made: dict[str, tuple[int, int]] = {}

    def number(self, name: str, low: int, high: int, pick: Callable[[random.Random], int] | None = None) -> int:
        """In [low, high], drawn evenly or by `pick`."""
        if name in self.fixed:
            value = self.fixed[name]
        else:
            rng = random.Random(f"{self.seed} {name}")
            value = pick(rng) if pick else rng.randint(low, high)
        value = min(max(value, low), high)
        self.made[name] = (low, value)
        return value

    def choice(self, name: str, options: Sequence[Any]) -> Any:
        return options[self.number(name, 0, len(options) - 1)]

    def flag(self, name: str, chance: float = 0.5) -> bool:
        return bool(self.number(name, 0, 1, lambda rng: rng.random() < chance))

    def size(self, name: str, most: int = 65, longest: int = 0) -> int:
        """Around the widths of registers and blocks; now and then up to `longest`."""

        def pick(rng):
            if longest and rng.random() < 0.08:
                return round(longest ** rng.random())
            return rng.choice([s for s in SIZES if s <= most])

        return self.number(name, 1, max(most, longest), pick)

    def shape(self, name: str, rank: int, most: int = 33, longest: int = 9000) -> tuple[int, ...]:
        shape: tuple[int, ...] = ()
        for axis in range(rank):
            size = self.size(f"{name}.shape[{axis}]", most, longest)
            shape += (max(1, min(size, MOST_ELEMENTS // math.prod(shape))),)
        return shape

    def dtype(self) -> str:
        weights = (55, 20, 15, 10)
        return DTYPES[self.number("dtype", 0, 3, lambda rng: rng.choices(range(4), weights)[0])]

    def numpy(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])

    def array(self, name: str, shape: Sequence[int], dtype: str) -> np.ndarray:
        """Floats of a kind, now and then the same for all arrays; those of bfloat16 and float16 come as float32."""
        whose = "all" if self.flag("all of a kind", 0.25) else name
        kind = KINDS[self.number(f"{whose}.kind", 0, len(KINDS) - 1, _pick_kind)]
        power = self.choice(f"{whose}.power", powers(dtype))
        return values(self.numpy(name), tuple(shape), kind, dtype, power)

    def ids(self, name: str, shape: Sequence[int], high: int) -> np.ndarray:
        return self.numpy(name).integers(0, high, tuple(shape))


def _pick_kind(rng: random.Random) -> int:
    return 0 if rng.random() < 0.5 else rng.randrange(1, len(KINDS))


def values(rng: np.random.Generator, shape: tuple[int, ...], kind: str, dtype: str, power: int = 0) -> np.ndarray:
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(_numbers(rng, shape, kind, dtype, power)).astype(
            "float64" if dtype == "float64" else "float32"
        )


def _numbers(rng: np.random.Generator, shape: tuple[int, ...], kind: str, dtype: str, power: int) -> np.ndarray:
    x = rng.standard_normal(shape)
    if kind == "ties":
        return rng.integers(-2, 3, shape) * 0.5
    if kind == "zeros":
        return rng.choice([0.0, -0.0], shape)
    if kind == "offset":
        return x + 1e4
    if kind == "constant":
        return np.full(shape, rng.standard_normal() * 10.0**power)
    if kind == "scaled":
        return x * 10.0**power
    if kind == "scaled rows":
        return (x * 10.0 ** rng.choice(powers(dtype), (*shape[:-1], 1))).reshape(shape)
    if kind == "specials":
        return np.where(rng.random(shape) < 0.2, rng.choice(specials(dtype), shape), x)
    return x


def powers(dtype: str) -> list[int]:
    """Powers of 10 near where numbers end, and where their squares do."""
    limit = {"float64": 308, "float16": 5}.get(dtype, 38)
    return [sign * (size - below) for size in (limit, limit // 2) for below in (3, 2, 1, 0) for sign in (1, -1)]


def specials(dtype: str) -> list[float]:
    """Zeros, infinities, NaN, the smallest and the largest numbers of a dtype."""
    largest, smallest, least = {
        "float64": (1.7e308, 2.3e-308, 5e-324),
        "float16": (65504.0, 6.2e-5, 6e-8),
    }.get(dtype, (3.3e38, 1.2e-38, 1.5e-45))
    return [0.0, -0.0, math.nan, math.inf, -math.inf, largest, -largest, smallest, -smallest / 3, least, -least]
