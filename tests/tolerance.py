"""The one place tolerances come from. Every element is judged by itself:

    |got - exact| <= C * (unit(accumulator) * sqrt(additions) * terms + unit(dtype) * |exact|)

in 32 bits and more, and in 16 bits

    |got - exact| <= C * unit(accumulator) * sqrt(additions) * terms + unit(dtype) * (|exact| + between * terms)

`exact` is what torch or NumPy computes in float64. `terms` is how large the numbers are that are added up to the
element: larger than |exact| where they cancel. `probe` measures it. `additions` is the length of the longest sum.
An element is rounded to `dtype` once, when it is stored; sums are taken in the accumulator of `dtype`. `between` is
for ops that also store intermediates in 16 bits: how far those move an element, beside what a change of all terms by
one unit does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

C = 4  # the room for independent errors that happen to agree: the same for every op and dtype
CHAIN = 256  # additions in one chain; the sums of chains are added in turn
MODEL_OPS = 16  # one after the other in two layers, forward and backward, of ours and of the twin
PROBES = 6
STEP = 2.0**-26  # of a probe: far above float64's rounding, far below what would leave the first order

# The largest relative error of rounding to nearest, and the distance of numbers around 0.
UNIT = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
TINIEST = {"float64": 2.0**-1074, "float32": 2.0**-149, "float16": 2.0**-24, "bfloat16": 2.0**-133}
ACCUMULATOR = {"float64": "float64", "float32": "float32", "float16": "float32", "bfloat16": "float32"}


@dataclass(frozen=True)
class Exact:
    """A float64 result. `spread` is how large, beside |value|, the numbers are that were added up to each element;
    `reach` is how far an element moves where all intermediates move by 1."""

    value: np.ndarray
    spread: np.ndarray
    reach: np.ndarray | float = 0.0


def allowed(exact: Exact, dtype: str, additions: int = 1, ops: int = 1, between: float = 0.0) -> np.ndarray:
    """The largest error to accept in each element of a result in `dtype`.

    The error of a sum of n terms grows like sqrt(n) when its roundings are independent (Higham and Mary 2019); so do
    the errors of `ops` ops, one after the other, each of which rounds what it stores.
    """
    rounding = UNIT[ACCUMULATOR[dtype] if ops == 1 else dtype]
    growth = math.sqrt(min(max(additions, 1), CHAIN)) + math.sqrt(additions // CHAIN)
    growth *= math.sqrt(ops)
    size = np.abs(exact.value)
    stored = UNIT[dtype] * size + TINIEST[dtype]
    if ACCUMULATOR[dtype] == dtype or ops > 1:
        stored = C * stored
    intermediates = between * (UNIT[dtype] * exact.spread + TINIEST[dtype] * exact.reach)
    return C * rounding * growth * (size + exact.spread) + stored + intermediates


def assert_close(
    got,
    exact: Exact,
    what: str = "",
    *,
    additions: int = 1,
    ops: int = 1,
    between: float = 0.0,
    dtype: str | None = None,
) -> None:
    """Equal infinities and NaN positions, and every finite element within what `allowed` allows it."""
    got, value = np.asarray(got), np.asarray(exact.value)
    dtype = dtype or got.dtype.name
    assert got.shape == value.shape, f"{what}: shape {got.shape}, expected {value.shape}"
    expected = round_to(value, dtype)  # what overflows the dtype is infinite in it
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected), err_msg=what)
    infinite, finite = np.isinf(expected), np.isfinite(expected)
    np.testing.assert_array_equal(got[infinite], expected[infinite], err_msg=what)
    error = np.abs(got[finite].astype(np.float64) - value[finite])
    with np.errstate(invalid="ignore"):
        ratio = error / allowed(exact, dtype, additions, ops, between)[finite]
    if ratio.size and not ratio.max() <= 1.0:
        at = int(ratio.argmax())
        raise AssertionError(
            f"{what}: {int((ratio > 1).sum())} of {ratio.size} elements are off; the worst is {got[finite][at]!r}, "
            f"expected {value[finite][at]!r}, {ratio[at]:.3g} times what is allowed"
        )


def round_to(value: np.ndarray, dtype: str) -> np.ndarray:
    """`value` rounded to the nearest number of `dtype`, as float64."""
    value = np.asarray(value, np.float64)
    if dtype != "bfloat16":
        with np.errstate(over="ignore"):
            return value.astype(dtype).astype(np.float64)
    with np.errstate(over="ignore"):
        bits = np.ascontiguousarray(value.astype(np.float32)).view(np.uint32)
    bits = (bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    rounded = bits.view(np.float32).astype(np.float64).reshape(value.shape)
    return np.where(np.isnan(value), np.nan, rounded)


def by_rows(value: np.ndarray, least: float = 0.0) -> Exact:
    """A result of whose terms nothing is known: the root mean square of its row stands for them, or `least`."""
    value = np.asarray(value, np.float64)
    mean_square = np.mean(np.square(value), axis=-1, keepdims=True) if value.ndim else np.square(value)
    return Exact(value, np.broadcast_to(np.maximum(np.sqrt(mean_square), least), value.shape))


def probe(run: Callable[[], Iterable[np.ndarray]], probes: int = PROBES, reach: int = 0) -> list[Exact]:
    """The results of `run`, a float64 computation with torch, and how large the terms behind each element are.

    It runs again with every argument of every torch op changed, at random, by some part in 2**26, forward and backward.
    What an element moves by, for a change of 1, is the root of the sum of the squares of its terms. Then it
    runs `reach` times with 2**-26, at random, added to them.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small ops, and nobody to wait for
    values = [np.array(v) for v in run()]
    spreads = _moves(run, values, probes, added=False)
    reaches = _moves(run, values, reach, added=True) if reach else [0.0] * len(values)
    torch.set_num_threads(threads)
    return [Exact(*each) for each in zip(values, spreads, reaches, strict=True)]


def _moves(
    run: Callable[[], Iterable[np.ndarray]], values: list[np.ndarray], probes: int, added: bool
) -> list[np.ndarray]:
    """The root mean square of how far each element of the results moves, for a change of 1."""
    from shaken import Shaken

    squares = [np.zeros(v.shape) for v in values]
    for seed in range(probes):
        with Shaken(seed, STEP, added):
            moved = [np.asarray(v) for v in run()]
        for square, a, b in zip(squares, moved, values, strict=True):
            if b.dtype.kind == "f":
                with np.errstate(invalid="ignore", over="ignore"):
                    square += np.nan_to_num(((a - b) / STEP) ** 2, nan=0.0, posinf=0.0)
    return [np.sqrt(square / probes) for square in squares]


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Bit for bit equal; every NaN counts as the same NaN."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    unsigned = f"u{a.dtype.itemsize}"
    nan = np.isnan(a) & np.isnan(b)
    equal = np.ascontiguousarray(a).view(unsigned) == np.ascontiguousarray(b).view(unsigned)
    return bool(np.all(nan | equal))
