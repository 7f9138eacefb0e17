"""The folder of a run: the name of its checkpoint, its lock, and what a killed process left in it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

CHECKPOINT_NAME = Path("checkpoint") / "state.safetensors"
LOCK_NAME = ".lock"


def remove_leftovers(run: str | os.PathLike[str]) -> None:
    """Removes temporary files that a killed process left in the run's folders."""
    for folder in (Path(run), Path(run) / CHECKPOINT_NAME.parent):
        for path in folder.glob(".*.tmp"):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(run: str | os.PathLike[str]) -> Iterator[None]:
    """Keeps the run's folder for this process; the system lets go of it however the process ends.

    Does nothing on systems and file systems without such locks. RuntimeError if another process holds it.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    path = Path(run) / LOCK_NAME
    with _locked_file(path, fcntl):
        try:
            yield
        finally:
            # While it is held: a moment later a file of this name may be another's.
            path.unlink(missing_ok=True)


def _locked_file(path: Path, fcntl: Any) -> BinaryIO:
    while True:
        file = open(path, "ab")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise RuntimeError(f"another process is training in {path.parent}") from None
        except OSError:
            return file
        # Whoever held the lock before may have removed the file since it was opened here.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        file.close()
