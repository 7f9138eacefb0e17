"""Text to train on, its split into training and validation part, and batches of tokens.

Batches are a pure function of seed and step: a resumed run sees what a straight run would have.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np

VALIDATION_FRACTION = 0.1
MAX_TEXT_BYTES = 4 << 30
CHUNK_BYTES = 1 << 20
UTF8_BOM = b"\xef\xbb\xbf"


def python_manual() -> str:
    """Returns the text of Python's own manual, as `help()` carries it: the topics in sorted order.

    ValueError if this Python comes without it.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise ValueError(
            "this Python comes without the text of its manual (pydoc_data.topics): name a text file to train on"
        ) from None
    return "\n".join(topics[name] for name in sorted(topics))


def read_text(paths: Sequence[str | os.PathLike[str]]) -> str:
    """Returns the text of the files, joined by newlines.

    ValueError names the file, and the byte where it is not UTF-8 or too long; OSError if one can't be read.
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
    """Splits tokens (n,) into training part and validation part, the last tenth.

    ValueError if either part is shorter than context_length + 1.
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
    """Draws `batch` windows of tokens (n,) from seed and step alone: those from number `first` of the step on.

    Returns ids and targets, both int64 (batch, context_length); targets are the ids one place on.
    """
    # Philox makes four numbers a count.
    block, skipped = divmod(first, 4)
    generator = np.random.Philox(key=seed, counter=[block, 0, step, 0])
    starts = generator.random_raw(skipped + batch)[skipped:] % np.uint64(tokens.size - context_length)
    return _windows(tokens, starts.astype(np.int64), context_length)


def validation_batches(
    tokens: np.ndarray, *, batch: int, context_length: int, count: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns at most `count` fixed batches of windows spread over tokens (n,), none overlapping.

    Ids and targets are int64 (rows, context_length), rows = batch but in the last batch.
    """
    windows = (tokens.size - 1) // context_length
    used = min(windows, batch * count)
    starts = np.arange(used, dtype=np.int64) * windows // used * context_length
    groups = [starts[i : i + batch] for i in range(0, used, batch)]
    return [_windows(tokens, group, context_length) for group in groups]


def _windows(tokens: np.ndarray, starts: np.ndarray, context_length: int) -> tuple[np.ndarray, np.ndarray]:
    window = tokens[starts[:, None] + np.arange(context_length + 1)].astype(np.int64)
    return np.ascontiguousarray(window[:, :-1]), np.ascontiguousarray(window[:, 1:])
