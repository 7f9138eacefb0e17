"""Files written whole or not at all, and JSON read with a limit.

A file is written beside its final place, forced to the disk, then renamed, so a crash or a full
disk leaves the last good file as it was.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

MAX_JSON_BYTES = 4 << 20

PathLike = str | os.PathLike


@contextlib.contextmanager
def atomic_files(*paths: PathLike) -> Iterator[list[BinaryIO]]:
    """Opens a writer for each path; all take their final names when the block ends well.

    If the block, a write or a renaming fails, no path changes and no temporary file stays.

    Args:
        paths: of files; what is there is replaced.

    Returns:
        A context manager that gives the open binary files, in the order of the paths.

    Raises:
        OSError: naming the path, when the disk is full, the path can't be written, or a device is there.

    Example:
        >>> with pf.formats.atomic_files(folder / "a", folder / "b") as (a, b):
        ...     _ = a.write(b"one"), b.write(b"two")
        >>> (folder / "b").read_bytes()
        b'two'
    """
    finals = [Path(os.path.realpath(path)) for path in paths]
    for final, path in zip(finals, paths, strict=True):
        # The renaming would take the place of a device or pipe, /dev/null say.
        if final.exists() and not (final.is_file() or final.is_dir()):
            raise OSError(errno.EINVAL, "saving failed: not a regular file", os.fspath(path))
    temps = [_temporary(final) for final in finals]
    files: list[BinaryIO] = []
    try:
        for temp, path in zip(temps, paths, strict=True):
            with _errors_name(path):
                files.append(open(temp, "xb"))  # noqa: SIM115
        with _errors_name(paths[0], unnamed_only=True):
            yield files
        for file, path in zip(files, paths, strict=True):
            with _errors_name(path):
                file.flush()
                os.fsync(file.fileno())
                file.close()
        _replace(finals, temps, paths)
        for folder in {final.parent for final in finals}:
            with _errors_name(folder):
                _sync_folder(folder)
    finally:
        for file in files:
            # Closing flushes, which fails again on a full disk.
            with contextlib.suppress(OSError):
                file.close()
        for temp in temps[: len(files)]:
            temp.unlink(missing_ok=True)


def _temporary(final: Path) -> Path:
    return final.with_name(f".{final.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def _replace(finals: list[Path], temps: list[Path], paths: Sequence[PathLike]) -> None:
    """Renames all, the first one last; if a renaming fails, what is done already is undone from copies."""
    olds = [_temporary(final) if final.exists() else None for final in finals[1:]]
    try:
        for final, old, path in zip(finals[1:], olds, paths[1:], strict=True):
            if old is not None:
                with _errors_name(path):
                    shutil.copyfile(final, old)
        try:
            for final, temp, path in reversed(list(zip(finals, temps, paths, strict=True))):
                with _errors_name(path):
                    os.replace(temp, final)
        except BaseException:
            if temps[0].exists():  # else all have their names, and Ctrl-C came just then
                _undo(finals[1:], temps[1:], olds)
            raise
    finally:
        for old in olds:
            if old is not None:
                old.unlink(missing_ok=True)


def _undo(finals: list[Path], temps: list[Path], olds: list[Path | None]) -> None:
    for final, temp, old in zip(finals, temps, olds, strict=True):
        if temp.exists():
            continue
        if old is None:
            final.unlink(missing_ok=True)
        else:
            os.replace(old, final)


@contextlib.contextmanager
def _errors_name(path: PathLike, *, unnamed_only: bool = False) -> Iterator[None]:
    """Makes an error name `path` instead of nothing or of a temporary file beside it."""
    try:
        yield
    except OSError as error:
        if error.errno is None or (unnamed_only and error.filename is not None):
            raise
        raise OSError(error.errno, f"saving failed: {error.strerror}", os.fspath(path)) from error


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes_atomic(path: PathLike, data: bytes) -> None:
    """Replaces the file at `path` by `data`, whole or not at all.

    Args:
        path: of the file, which need not exist.
        data: its new content.

    Raises:
        OSError: it can't be written.

    Example:
        >>> pf.formats.write_bytes_atomic(folder / "x", b"one")
        >>> (folder / "x").read_bytes()
        b'one'
    """
    with atomic_files(path) as (file,):
        file.write(data)


def write_json_atomic(path: PathLike, value: Any, *, ascii_only: bool = False) -> None:
    """Replaces the file at `path` by `value` as indented JSON in UTF-8, whole or not at all.

    Args:
        path: of the file, which need not exist.
        value: what JSON can hold.
        ascii_only: escape all else, so that names of files that are not UTF-8 can be stored.

    Raises:
        OSError: it can't be written.
        TypeError: JSON can't hold the value.

    Example:
        >>> pf.formats.write_json_atomic(folder / "x.json", {"steps": 3})
        >>> pf.formats.read_json(folder / "x.json")
        {'steps': 3}
    """
    write_bytes_atomic(path, json_bytes(value, ascii_only))


def json_bytes(value: Any, ascii_only: bool = False) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=ascii_only) + "\n").encode()


def display_name(path: PathLike) -> str:
    """`path` as text that can be printed; bytes that are not UTF-8 are replaced.

    Example:
        >>> pf.formats.display_name("runs/one")
        'runs/one'
    """
    return os.fsencode(path).decode("utf-8", errors="replace")


def read_json(path: PathLike, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """The JSON object in a file.

    Args:
        path: of the file.
        max_bytes: how long it may be.

    Returns:
        A dict.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is longer than `max_bytes`, not UTF-8, not JSON, or not an object.

    Example:
        >>> pf.formats.write_bytes_atomic(folder / "x.json", b"[1, 2]")
        >>> pf.formats.read_json(folder / "x.json")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: ...x.json: expected a JSON object, got list
    """
    with open(path, "rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"{path}: expected at most {max_bytes} bytes of JSON, got more")
    return parse_object(data, str(path))


@contextlib.contextmanager
def naming(path: PathLike) -> Iterator[None]:
    """Makes errors of what a file says name it; JSON that is nested too deeply to be followed is one of them."""
    try:
        yield
    except RecursionError as error:
        raise ValueError(f"{path}: nested too deeply") from error
    except (ValueError, TypeError) as error:
        if os.fspath(path) in str(error):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{path}: {error}") from error


def parse_object(data: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise ValueError(f"{where}: JSON nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"{where}: not valid JSON ({error}); is the file whole?") from error
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected a JSON object, got {type(value).__name__}")
    return value
