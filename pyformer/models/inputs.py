"""Reading of what models are called with: ids and lengths in any form, checked."""

from __future__ import annotations

from typing import Any

import numpy as np

import pyformer as pf

MAX_INT64 = 2**63 - 1


def read_int64(owner: str, name: str, values: Any) -> np.ndarray:
    """`values`, a Tensor, array or nested list of integers, as an int64 array.

    Raises:
        ValueError: rows differ in length.
        TypeError: they are not integers.
        IndexError: one doesn't fit in int64.
    """
    if isinstance(values, pf.Tensor):
        values = values.to("cpu").numpy()
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{owner}: rows of {name} differ in length; pad them and pass lengths=") from error
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{owner}: {name} must be integers, got {array.dtype}")
    if array.dtype == np.uint64 and array.size and array.max() > MAX_INT64:
        raise IndexError(f"{owner}: {name} hold {array.max()}, which doesn't fit in int64")
    return array.astype(np.int64)


def read_ids(owner: str, ids: Any, context_length: int, device: str, name: str = "ids") -> pf.Tensor:
    """`ids` as an int64 Tensor (B, T) on `device`; ValueError unless T is from 1 to `context_length`."""
    if not (isinstance(ids, pf.Tensor) and ids.dtype == pf.int64):
        ids = pf.tensor(read_int64(owner, name, ids), device=device)
    if ids.ndim != 2 or ids.shape[1] == 0:
        raise ValueError(f"{owner}: {name} must be (B, T) with T at least 1, got shape {tuple(ids.shape)}")
    if ids.shape[1] > context_length:
        raise ValueError(f"{owner}: {ids.shape[1]} tokens exceed the context length {context_length}")
    return ids


def read_lengths(owner: str, lengths: Any, batch: int, tokens: int, name: str = "lengths") -> np.ndarray:
    """`lengths` as int64 (B,); ValueError unless each is from 1 to `tokens`."""
    lengths = read_int64(owner, name, lengths)
    if lengths.shape != (batch,):
        raise ValueError(f"{owner}: {name} must be ({batch},), got {lengths.shape}")
    if batch and (lengths.min() < 1 or lengths.max() > tokens):
        raise ValueError(f"{owner}: {name} must be in [1, {tokens}], got {lengths.tolist()}")
    return lengths
