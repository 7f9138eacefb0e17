"""Pictures and signals in another size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pyformer import _core
from pyformer._core import DType, Tensor, ops
from pyformer.float_mode import in_default_float_mode
from pyformer.names.arguments import is_float, rounded
from pyformer.names.choosing import index_select

_AXES = {"nearest": (1, 2), "nearest-exact": (1, 2), "linear": (1,), "bilinear": (2,), "bicubic": (2,)}


@in_default_float_mode
def interpolate(
    x: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """Signals (N, C, L) or pictures (N, C, H, W) in another size, as torch's.

    Args:
        x: (N, C, L) or (N, C, H, W), float.
        size: the new L, or (H, W); an int is both.
        scale_factor: in place of size: by what the extents grow, rounded down to whole numbers.
        mode: "nearest", "nearest-exact", "linear" (of signals), "bilinear" or "bicubic" (of pictures).
        align_corners: whether the first and last elements stay where they are, rather than the outer edges; not for
            the nearest.

    Returns:
        Tensor (N, C, ...) of x's dtype.

    Raises:
        ValueError: the shape, the mode or the sizes do not fit each other.
        TypeError: x is not a float tensor.

    Source: Keys 1981, "Cubic convolution interpolation for digital image processing", with a = -3/4, for "bicubic".

    Example:
        >>> pf.ops.interpolate(pf.tensor([[[1.0, 3.0]]]), size=4, mode="linear")
        tensor([[[1. , 1.5, 2.5, 3. ]]], dtype=float32)
    """
    count = x.ndim - 2
    if mode not in _AXES:
        raise ValueError(f"interpolate: mode must be one of {', '.join(_AXES)}, got {mode!r}")
    if count not in _AXES[mode]:
        shapes = " or ".join({1: "(N, C, L)", 2: "(N, C, H, W)"}[n] for n in _AXES[mode])
        raise ValueError(f"interpolate: {mode} takes {shapes}, got {x.shape}")
    if align_corners is not None and mode.startswith("nearest"):
        raise ValueError(f"interpolate: align_corners goes with linear, bilinear and bicubic, got mode {mode!r}")
    if not is_float(x.dtype):
        raise TypeError(f"interpolate: expected a float tensor, got {x.dtype.name}")
    sizes, ratios = _sizes(x.shape[2:], size, scale_factor)
    out = x.to(DType.float32) if x.dtype in (DType.bfloat16, DType.float16) else x
    for axis, (new, ratio) in enumerate(zip(sizes, ratios, strict=True), start=2):
        out = _resized(out, axis, _places(x.shape[axis], new, ratio, mode, bool(align_corners)), mode)
    return rounded(out, x)


def _sizes(old: Sequence[int], size: Any, scale_factor: Any) -> tuple[list[int], list[float]]:
    """The new extents, and how many old elements each new one stands for."""
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate: expected either size or scale_factor")
    given = size if scale_factor is None else scale_factor
    given = list(given) if isinstance(given, (tuple, list)) else [given] * len(old)
    if len(given) != len(old):
        name = "size" if scale_factor is None else "scale_factor"
        raise ValueError(f"interpolate: {name} must be one number or {len(old)}, got {len(given)}")
    new = given if scale_factor is None else [math.floor(n * s) for n, s in zip(old, given, strict=True)]
    if any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in new) or 0 in old:
        raise ValueError(f"interpolate: expected sizes of at least 1, got {tuple(old)} to {tuple(new)}")
    ratios = [1.0 / s for s in given] if size is None else [n / m for n, m in zip(old, new, strict=True)]
    return new, ratios


def _places(old: int, new: int, ratio: float, mode: str, align_corners: bool) -> list[float]:
    """Where each new element lies among the old ones, the first of which is at 0."""
    if mode == "nearest":
        return [i * ratio for i in range(new)]
    if mode == "nearest-exact":
        return [(i + 0.5) * ratio for i in range(new)]
    if align_corners:
        return [i * (old - 1) / max(new - 1, 1) for i in range(new)]
    places = [(i + 0.5) * ratio - 0.5 for i in range(new)]
    return places if mode == "bicubic" else [max(place, 0.0) for place in places]


def _resized(x: Tensor, axis: int, places: list[float], mode: str) -> Tensor:
    """Along one axis: each new element is a weighted sum of the old ones around its place."""
    whole = [math.floor(place) for place in places]
    parts = [place - w for place, w in zip(places, whole, strict=True)]
    if mode.startswith("nearest"):
        return _taken(x, axis, whole)
    steps = range(-1, 3) if mode == "bicubic" else range(2)
    weight = _cubic if mode == "bicubic" else _linear
    shape = [len(places) if i == axis else 1 for i in range(x.ndim)]
    total = None
    for step in steps:
        weights = _core.tensor([weight(part - step) for part in parts], dtype=x.dtype, device=x.device).reshape(shape)
        # An element of weight 0 is left out: 0 times an infinity, there or in the gradient, would be NaN.
        taken = _taken(x, axis, [w + step for w in whole])
        term = ops.where(ops.not_equal(weights, 0), taken * weights, 0.0)
        total = term if total is None else total + term
    return total


def _taken(x: Tensor, axis: int, index: list[int]) -> Tensor:
    last = x.shape[axis] - 1
    return index_select(x, axis, _core.tensor([min(max(i, 0), last) for i in index], device=x.device))


def _linear(distance: float) -> float:
    return 1.0 - abs(distance)


def _cubic(distance: float) -> float:
    d = abs(distance)
    return (1.25 * d - 2.25) * d * d + 1.0 if d <= 1.0 else ((-0.75 * d + 3.75) * d - 6.0) * d + 3.0


__all__ = ["interpolate"]
