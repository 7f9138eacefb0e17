"""What users hand over as numbers, as a NumPy array of which nothing is lost."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyformer._core import Tensor


def plain_array(owner: str, values: Any, dtype: Any = None) -> np.ndarray:
    """`values`, a Tensor on any device, an array or a nest of lists, as an array without a mask.

    Raises:
        TypeError: an array has a mask, which NumPy would drop, or a Tensor in a list requires a gradient.
        ValueError: rows differ in length.
    """
    if isinstance(values, Tensor):
        return np.asarray(values.detach().to("cpu").numpy(), dtype)
    refuse_mask(owner, values)
    return np.asarray(values, dtype)


def refuse_mask(owner: str, values: Any) -> None:
    """TypeError if `values` is a masked array, or a nest of lists with one in it."""
    if _is_masked(values):
        raise TypeError(f"{owner}: expected an array without a mask, got a MaskedArray; use its filled(value)")


def _is_masked(values: Any) -> bool:
    if isinstance(values, (list, tuple)):
        return any(_is_masked(item) for item in values if not isinstance(item, (int, float)))
    return isinstance(values, np.ma.MaskedArray)
