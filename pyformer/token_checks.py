"""What all tokenizers check: that text is text, and that ids are ids."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pyformer.arrays import plain_array


def encode_text(name: str, text: str, encoding: str, start: int = 0) -> bytes:
    """`text`, which begins at `start` of a longer one, in an encoding.

    ValueError for a lone surrogate, TypeError for anything but a str.
    """
    if not isinstance(text, str):
        raise TypeError(f"{name}: expected str, got {type(text).__name__}")
    try:
        return text.encode(encoding)
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise ValueError(f"{name}: lone surrogate U+{code:04X} at position {start + error.start} is not text") from None


def checked_ids(name: str, ids: Iterable[int], vocab_size: int) -> np.ndarray:
    """`ids` as int64 (n,); ValueError for anything but integers below `vocab_size`."""
    array = plain_array(name, ids if isinstance(ids, np.ndarray) else list(ids))
    if array.size == 0:
        return np.empty(0, dtype=np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"{name}: expected integers (n,), got {array.dtype} {array.shape}")
    outside = (array < 0) | (array >= vocab_size)
    if outside.any():
        raise ValueError(f"{name}: id {array[outside.argmax()]} is outside 0..{vocab_size - 1}")
    return array.astype(np.int64)
