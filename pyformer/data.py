"""Text to train on, its split into training and validation part, and batches of tokens.

Batches are a pure function of seed and step: a resumed run sees what a straight run would have.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pyformer.arrays import refuse_mask
from pyformer.loading import DataLoader

__all__ = ["DataLoader", "python_manual", "read_text", "sample_batch", "split", "validation_batches"]

VALIDATION_FRACTION = 0.1
MAX_TEXT_BYTES = 4 << 30
CHUNK_BYTES = 1 << 20
UTF8_BOM = b"\xef\xbb\xbf"


def python_manual() -> str:
    """The text of Python's own manual, as `help()` carries it: the topics in sorted order.

    Returns:
        str, about half a million characters; which ones depends on the version of Python.

    Raises:
        ValueError: this Python comes without it.

    Example:
        >>> len(pf.data.python_manual()) > 100_000
        True
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise ValueError(
            "this Python comes without the text of its manual (pydoc_data.topics): name a text file to train on"
        ) from None
    return "\n".join(topics[name] for name in sorted(topics))


def read_text(paths: Sequence[str | os.PathLike[str]]) -> str:
    r"""The text of files, joined by newlines.

    Args:
        paths: files of UTF-8, with a byte order mark or without.

    Returns:
        str.

    Raises:
        ValueError: a file is empty, binary, too long or not UTF-8; the message names the file and the byte.
        OSError: a file can't be read.

    Example:
        >>> for name in ("one.txt", "two.txt"):
        ...     _ = (folder / name).write_text(name)
        >>> pf.data.read_text([folder / "one.txt", folder / "two.txt"])
        'one.txt\ntwo.txt'
    """
    return "\n".join(_read_one(Path(path)) for path in paths)


def _read_one(path: Path) -> str:
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise ValueError(f"{path}: is a folder, expected a text file")
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        raise ValueError(f"{path}: is a device, expected a text file")
    data = _read_bytes(path)
    if not data:
        raise ValueError(f"{path}: is empty, there is nothing to train on")
    text = _decode(path, data)
    if not text:
        raise ValueError(f"{path}: is empty, there is nothing to train on")
    return text


def _read_bytes(path: Path) -> bytearray:
    """The content, read no further than what shows that it is no text: a pipe may never end."""
    data = bytearray()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            null = chunk.find(b"\0")
            if null >= 0:
                at = len(data) + null
                raise ValueError(f"{path}: is a binary file (zero byte at byte {at}), expected UTF-8 text")
            data += chunk
            if len(data) > MAX_TEXT_BYTES:
                raise ValueError(f"{path}: is too long, expected at most {MAX_TEXT_BYTES} bytes")
    return data


def _decode(path: Path, data: bytearray) -> str:
    skip = len(UTF8_BOM) if data.startswith(UTF8_BOM) else 0
    try:
        return str(memoryview(data)[skip:], "utf-8")
    except UnicodeDecodeError as error:
        at = skip + error.start
        raise ValueError(f"{path}: is not UTF-8: byte 0x{data[at]:02x} at byte {at} ({error.reason})") from None


def split(tokens: np.ndarray, context_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits tokens into a training part and a validation part, the last tenth.

    Args:
        tokens: NumPy integers (n,).
        context_length: of the windows that will be drawn.

    Returns:
        (training, validation): views of tokens.

    Raises:
        ValueError: a part is shorter than context_length + 1.

    Example:
        >>> train, validation = pf.data.split(np.arange(100), context_length=8)
        >>> train.size, validation
        (90, array([90, 91, 92, 93, 94, 95, 96, 97, 98, 99]))
    """
    cut = tokens.size - int(tokens.size * VALIDATION_FRACTION)
    train, validation = tokens[:cut], tokens[cut:]
    needed = context_length + 1
    if min(train.size, validation.size) < needed:
        raise ValueError(
            f"the text is too short: it has {tokens.size} tokens and its last tenth, kept for "
            f"validation, must hold context + 1 = {needed}; use more text (at least {10 * needed} "
            "tokens), or a shorter context where there is a choice"
        )
    return train, validation


def sample_batch(
    tokens: np.ndarray, *, seed: int, step: int, batch: int, context_length: int, first: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draws windows of tokens, from seed and step alone: a resumed run sees what a straight one would have seen.

    Args:
        tokens: NumPy integers (n,), n above context_length.
        seed, step: what decides the windows.
        batch: how many windows.
        context_length: T, the length of a window.
        first: the number, within the step, of the first window: two calls with batch 4 and first 0 and 4 give the
            windows of one with batch 8.

    Returns:
        (ids, targets): NumPy int64 (batch, T); targets are the ids one place on.

    Raises:
        IndexError: there are no more tokens than context_length.

    Example:
        >>> ids, targets = pf.data.sample_batch(np.arange(100), seed=0, step=0, batch=2, context_length=4)
        >>> ids.shape, (targets - ids).tolist()
        ((2, 4), [[1, 1, 1, 1], [1, 1, 1, 1]])
    """
    refuse_mask("sample_batch", tokens)
    # Philox makes four numbers a count.
    block, skipped = divmod(first, 4)
    generator = np.random.Philox(key=seed, counter=[block, 0, step, 0])
    starts = generator.random_raw(skipped + batch)[skipped:] % np.uint64(tokens.size - context_length)
    return _windows(tokens, starts.astype(np.int64), context_length)


def validation_batches(
    tokens: np.ndarray, *, batch: int, context_length: int, count: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Fixed batches of windows spread over the tokens, none overlapping.

    Args:
        tokens: NumPy integers (n,).
        batch: windows a batch, but for the last one.
        context_length: T, the length of a window.
        count: how many batches at most.

    Returns:
        List of (ids, targets): NumPy int64 (rows, T); empty where n is at most T.

    Raises:
        ZeroDivisionError: context_length is 0.

    Example:
        >>> batches = pf.data.validation_batches(np.arange(50), batch=2, context_length=4, count=2)
        >>> [ids[:, 0].tolist() for ids, targets in batches]
        [[0, 12], [24, 36]]
    """
    refuse_mask("validation_batches", tokens)
    windows = (tokens.size - 1) // context_length
    used = min(windows, batch * count)
    starts = np.arange(used, dtype=np.int64) * windows // used * context_length
    groups = [starts[i : i + batch] for i in range(0, used, batch)]
    return [_windows(tokens, group, context_length) for group in groups]


def _windows(tokens: np.ndarray, starts: np.ndarray, context_length: int) -> tuple[np.ndarray, np.ndarray]:
    window = tokens[starts[:, None] + np.arange(context_length + 1)].astype(np.int64)
    return np.ascontiguousarray(window[:, :-1]), np.ascontiguousarray(window[:, 1:])
