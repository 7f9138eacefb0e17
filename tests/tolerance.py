"""The one place tolerances come from."""

from __future__ import annotations

import math

import numpy as np

CHAIN = 256  # additions in one chain; sums of chains and of lanes grow more slowly


def bound(dtype: str, reduction: int, magnitude: float) -> float:
    """Largest absolute error to accept in an element of `dtype` that sums `reduction` terms.

    Rounding errors of a chain of n additions grow like sqrt(n) when they are independent; a chain is at most
    CHAIN long and the chains' sums are added in turn. Sixteen is the room for a handful of further roundings and
    for errors that are not independent.
    """
    eps = float(np.finfo(dtype).eps)
    chains = math.sqrt(min(reduction, CHAIN)) + math.sqrt(max(reduction, 1) / CHAIN)
    return 16 * eps * (1 + chains) * max(magnitude, float(np.finfo(dtype).tiny))


def magnitude(*arrays: np.ndarray | None) -> float:
    """The scale that rounding errors are relative to: the largest finite absolute values, added."""
    total = 0.0
    for array in arrays:
        if array is None or array.size == 0 or array.dtype.kind not in "f":
            continue
        finite = np.abs(array[np.isfinite(array)])
        total += float(finite.max()) if finite.size else 0.0
    return total


def assert_close(got, expected, tolerance: float, what: str = "") -> None:
    """Equal infinities and NaN positions, everything finite within tolerance."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, f"{what}: shape {got.shape}, expected {expected.shape}"
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected), err_msg=what)
    infinite = np.isinf(expected)
    np.testing.assert_array_equal(got[infinite], expected[infinite], err_msg=what)
    finite = np.isfinite(expected)
    if finite.any():
        error = float(np.abs(got[finite].astype(np.float64) - expected[finite]).max())
        assert error <= tolerance, f"{what}: error {error:.3g}, allowed {tolerance:.3g}"


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
