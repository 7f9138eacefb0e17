"""Text to train on, its split into training and validation part, and batches of tokens.

Batches are a pure function of seed and step: a resumed run sees what a straight run would have.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pyformer.arrays import refuse_mask
from pyformer.float_mode import in_default_float_mode
from pyformer.loading import DataLoader, Dataset, Subset, TensorDataset, random_split

__all__ = [
    "DataLoader",
    "Dataset",
    "Subset",
    "TensorDataset",
    "python_manual",
    "random_split",
    "read_text",
    "sample_batch",
    "split",
    "split_text",
    "validation_batches",
]

log = logging.getLogger(__name__)

VALIDATION_FRACTION = 0.1
BLOCK_CHARACTERS, MAX_BLOCKS = 1024, 10_000
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


def read_text(paths: Sequence[str | os.PathLike[str]], stdin: BinaryIO | None = None) -> str:
    r"""The text of files, joined by newlines.

    Args:
        paths: files of UTF-8, with a byte order mark or without; and folders, whose files of text are taken in the
            order of their names, those of their folders too, but not hidden ones. What is no UTF-8 there is passed
            over, with a line in the log.
        stdin: the standard input, of bytes; "-" then stands for its text.

    Returns:
        str.

    Raises:
        ValueError: a file is empty, binary, too long or not UTF-8, a folder has no text; the message names the file
            and the byte.
        OSError: a file can't be read.

    Example:
        >>> for name in ("one.txt", "two.txt"):
        ...     _ = (folder / name).write_text(name)
        >>> pf.data.read_text([folder / "one.txt", folder / "two.txt"])
        'one.txt\ntwo.txt'
        >>> pf.data.read_text([folder])
        'one.txt\ntwo.txt'
    """
    texts = []
    for path in map(Path, paths):
        if stdin is not None and str(path) == "-":
            path = Path("standard input")
            texts.append(_text_of(path, _read_bytes(path, stdin)))
        elif path.is_dir():
            texts += _read_folder(path)
        else:
            texts.append(_read_one(path))
    return "\n".join(texts)


def _read_folder(folder: Path) -> list[str]:
    texts, passed_over = [], []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if any(part.startswith(".") for part in parts) or not path.is_file():
            continue
        try:
            texts.append(_read_one(path))
        except ValueError:
            passed_over.append(path.name)
    if not texts:
        raise ValueError(f"{folder}: is a folder without a file of UTF-8 text")
    if passed_over:
        more = f" and {len(passed_over) - 5} more" if len(passed_over) > 5 else ""
        log.warning("%s: %s%s: no UTF-8 text, left out", folder, ", ".join(passed_over[:5]), more)
    return texts


def _read_one(path: Path) -> str:
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        raise ValueError(f"{path}: is a device, expected a text file")
    with open(path, "rb") as file:
        return _text_of(path, _read_bytes(path, file))


def _text_of(path: Path, data: bytearray) -> str:
    if not data:
        raise ValueError(f"{path}: is empty, expected a text")
    text = _decode(path, data)
    if not text:
        raise ValueError(f"{path}: is empty, expected a text")
    return text


def _read_bytes(path: Path, file: BinaryIO) -> bytearray:
    """The content, read no further than what shows that it is no text: a pipe may never end."""
    data = bytearray()
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


def split_text(text: str, seed: int = 0) -> tuple[str, str]:
    r"""Splits a text into a training part and a validation part, a tenth, which is drawn from all over the text.

    The text is cut, at line ends where there are any, into blocks of about equal length, 1,024 characters or more; at
    least 10 blocks, at most 10,000. Of each ten that follow each other the seed chooses one for validation, so that of
    several files each one of 20 blocks or more has its share.

    Args:
        text: what there is.
        seed: decides which blocks; the same text and seed always give the same parts.

    Returns:
        (training, validation): the blocks of each, joined in their order.

    Raises:
        ValueError: the seed is negative.

    Example:
        >>> train, validation = pf.data.split_text("".join(f"line {i}\n" for i in range(100)), seed=1)
        >>> len(validation.splitlines()), validation.splitlines()[0]
        (12, 'line 0')
    """
    count = min(MAX_BLOCKS, max(10, len(text) // BLOCK_CHARACTERS // 10 * 10))
    cuts = [_line_start(text, i * len(text) // count, (i + 1) * len(text) // count) for i in range(count)]
    blocks = [text[begin:end] for begin, end in zip(cuts, [*cuts[1:], len(text)], strict=True)]
    # The blocks are drawn at a counter of their own; batches use other counters.
    raw = np.random.Philox(key=seed, counter=[0, 0, 0, 2]).random_raw(count // 10)
    chosen = {10 * group + int(number % 10) for group, number in enumerate(raw.tolist())}
    train = "".join(block for i, block in enumerate(blocks) if i not in chosen)
    return train, "".join(block for i, block in enumerate(blocks) if i in chosen)


def _line_start(text: str, begin: int, end: int) -> int:
    """The first start of a line from `begin`, or `begin` if there is none before `end`."""
    if begin == 0:
        return 0
    line_end = text.find("\n", begin - 1, end - 1)
    return begin if line_end < 0 else line_end + 1


@in_default_float_mode
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
