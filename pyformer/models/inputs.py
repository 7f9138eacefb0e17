"""Reading of what models are called with: ids and lengths in any form, checked."""

from __future__ import annotations

from typing import Any

import numpy as np

import pyformer as pf
from pyformer import nn
from pyformer.arrays import plain_array
from pyformer.nn.precision import activation_dtype

MAX_INT64 = 2**63 - 1


def check_rows(owner: str, x: pf.Tensor) -> None:
    """ValueError for an x without rows: models refuse a batch of nothing, where a loss whose targets are all ignored
    is 0."""
    if x.size == 0:
        raise ValueError(f"{owner}: x must have at least one row, got {tuple(x.shape)}")


def read_int64(owner: str, name: str, values: Any, lengths: str | None = "lengths") -> np.ndarray:
    """`values`, a Tensor, array or nested list of integers, as an int64 array; `lengths` names the argument that says
    how long the rows of a padded one are.

    Raises:
        ValueError: rows differ in length.
        TypeError: they are not integers, or an array of them has a mask.
        IndexError: one doesn't fit in int64.
    """
    try:
        array = plain_array(owner, values)
    except ValueError as error:
        advice = f"pad them and pass {lengths}=" if lengths else "expected one shape for all"
        raise ValueError(f"{owner}: rows of {name} differ in length; {advice}") from error
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{owner}: {name} must be integers, got {array.dtype}")
    if array.dtype == np.uint64 and array.size and array.max() > MAX_INT64:
        raise IndexError(f"{owner}: {name} hold {array.max()}, which doesn't fit in int64")
    return array.astype(np.int64)


def read_ids(
    owner: str, ids: Any, context_length: int, device: str, name: str = "ids", lengths: str = "lengths"
) -> pf.Tensor:
    """`ids` as an int64 Tensor (B, T) on `device`; ValueError unless B is 1 or more, and T from 1 to
    `context_length`."""
    if not (isinstance(ids, pf.Tensor) and ids.dtype == pf.int64):
        ids = pf.tensor(read_int64(owner, name, ids, lengths), device=device)
    if ids.ndim != 2 or ids.size == 0:
        raise ValueError(f"{owner}: {name} must be (B, T) with B and T at least 1, got shape {tuple(ids.shape)}")
    if ids.shape[1] > context_length:
        raise ValueError(f"{owner}: {ids.shape[1]} tokens exceed the context length {context_length}")
    return ids


def read_lengths(
    owner: str, lengths: Any, batch: int, tokens: int, name: str = "lengths", least: int = 1
) -> np.ndarray:
    """`lengths` as int64 (B,); ValueError unless each is from `least` to `tokens`."""
    lengths = read_int64(owner, name, lengths, None)
    if lengths.shape != (batch,):
        raise ValueError(f"{owner}: {name} must be ({batch},), got {lengths.shape}")
    if batch and (lengths.min() < least or lengths.max() > tokens):
        raise ValueError(f"{owner}: {name} must be in [{least}, {tokens}], got {lengths.tolist()}")
    return lengths


def read_floats(owner: str, name: str, values: Any, like: pf.Tensor | nn.Projection) -> pf.Tensor:
    """`values`, a Tensor, array or nested list, as a Tensor on the device of `like`; TypeError unless of its dtype,
    ValueError where rows differ in length.

    Where `like` is bfloat16, which NumPy does not have, they are float32, as activations are, or bfloat16. What is no
    Tensor may be float32 where `like` is float16.
    """
    try:
        given = pf.asarray(values)
    except (TypeError, ValueError) as error:
        reason = str(error).removeprefix("tensor: ")
        raise type(error)(f"{owner}: {name} must be numbers, in rows of one length: {reason}") from None
    wanted = activation_dtype(like)
    is_array = not isinstance(values, pf.Tensor) and given.dtype == pf.float32 and wanted == pf.float16
    if is_array or given.dtype == like.dtype:
        given = given.to(wanted)
    if given.dtype != wanted:
        got = getattr(values, "dtype", given.dtype.name)
        raise TypeError(f"{owner}: {name} must be {wanted.name}, got {got}")
    return given.to(like.device)


def read_pictures(
    owner: str, pictures: Any, shape: tuple[int, ...], like: pf.Tensor | nn.Projection, name: str = "pictures"
) -> pf.Tensor:
    """`pictures`, as `read_floats` takes them, as a Tensor (B, *shape) on the device of `like`.

    Any number may be in it: a NaN makes what is computed from its picture NaN.

    Raises:
        ValueError: the shape is another, or B is 0.
        TypeError: the dtype is not that of `like`.
    """
    pictures = read_floats(owner, name, pictures, like)
    if pictures.ndim != len(shape) + 1 or tuple(pictures.shape[1:]) != shape or pictures.shape[0] == 0:
        wanted = "".join(f", {extent}" for extent in shape) or ","
        raise ValueError(f"{owner}: {name} must be (B{wanted}) with B at least 1, got {tuple(pictures.shape)}")
    return pictures


def read_labels(owner: str, labels: Any, batch: int | None, classes: int, device: str) -> pf.Tensor:
    """`labels` as int64 (B,) on `device`; ValueError for another shape, IndexError unless each is in [0, classes).

    With `batch` None any B from 1 on will do.
    """
    labels = read_int64(owner, "labels", labels, None)
    if batch is None and (labels.ndim != 1 or not labels.size):
        raise ValueError(f"{owner}: labels must be (B,) with B at least 1, got {labels.shape}")
    if batch is not None and labels.shape != (batch,):
        raise ValueError(f"{owner}: labels must be ({batch},), got {labels.shape}")
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        raise IndexError(f"{owner}: labels must be in [0, {classes}), got {labels.min()} to {labels.max()}")
    return pf.tensor(labels, device=device)


def noise_rows(owner: str, seed: int, count: int, shape: tuple[int, ...], like: pf.Tensor | nn.Projection) -> pf.Tensor:
    """(count, *shape) normal numbers in the activations' dtype and on the device of `like`; row i is that of seed + i
    alone.

    TypeError or ValueError unless the seed is an integer, 0 or above.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f"{owner}: seed must be an int, got {type(seed).__name__}")
    if seed < 0:
        raise ValueError(f"{owner}: seed must be at least 0, got {seed}")
    seed = int(seed)  # NumPy's may overflow
    rows = [np.random.Generator(np.random.Philox(seed + i)).standard_normal(shape) for i in range(count)]
    return pf.tensor(np.stack(rows), dtype=activation_dtype(like), device=like.device)
