"""Prompts as they come: lists, arrays, one or many; checked before anything is computed."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyformer.arrays import plain_array


def read_prompts(ids: Any, vocab_size: int) -> tuple[list[list[int]], bool]:
    """(prompts, whether they came as, or amount to, a 2-D array) from any form that is accepted."""
    if isinstance(ids, (list, tuple)):
        rows = [_read_row("generate", row) for row in ids]
        rectangular = len({row.size for row in rows}) == 1
    else:
        array = plain_array("generate", ids)
        if array.ndim != 2:
            raise ValueError(f"generate: ids must be (B, T), got shape {array.shape}")
        rows, rectangular = list(array), True
    if not rows:
        raise ValueError("generate: expected at least one prompt, got none")
    return [_checked("generate", f"prompt {index}", row, vocab_size) for index, row in enumerate(rows)], rectangular


def read_prompt(owner: str, ids: Any, vocab_size: int) -> list[int]:
    """One prompt: at least one id in [0, vocab_size)."""
    return _checked(owner, "the prompt", _read_row(owner, ids), vocab_size)


def _read_row(owner: str, row: Any) -> np.ndarray:
    array = plain_array(owner, row)
    if array.ndim != 1:
        raise ValueError(f"{owner}: each prompt must be a list of ids, got shape {array.shape}")
    return array


def _checked(owner: str, which: str, row: np.ndarray, vocab_size: int) -> list[int]:
    if row.size == 0:
        raise ValueError(f"{owner}: {which} is empty")
    if row.dtype.kind not in "iu":
        raise TypeError(f"{owner}: ids must be integers, got {row.dtype}")
    # Before any conversion: unsigned numbers may not fit in int64.
    if row.min() < 0 or row.max() >= vocab_size:
        bad = row[(row < 0) | (row >= vocab_size)][0]
        raise IndexError(f"{owner}: id {bad} of {which} is not in [0, {vocab_size})")
    return row.astype(np.int64).tolist()
