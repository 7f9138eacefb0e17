"""Files of models and checkpoints: safetensors and config.json, written whole or not at all.

A file is written beside its final place, forced to the disk, then renamed, so a crash or a full
disk leaves the last good file as it was. What is read is checked before memory is taken for it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

import pyformer as pf

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
MAX_CONFIG_BYTES = 4 << 20
MAX_HEADER_BYTES = 32 << 20

# safetensors' name of a dtype: (ours, NumPy's for its bytes); bfloat16 travels as its bits.
_DTYPES = {
    "F64": ("float64", np.dtype("<f8")),
    "F32": ("float32", np.dtype("<f4")),
    "F16": ("float16", np.dtype("<f2")),
    "BF16": ("bfloat16", np.dtype("<u2")),
    "I64": ("int64", np.dtype("<i8")),
    "I32": ("int32", np.dtype("<i4")),
    "BOOL": ("bool", np.dtype("?")),
}

PathLike = str | os.PathLike


@contextlib.contextmanager
def atomic_files(*paths: PathLike) -> Iterator[list[BinaryIO]]:
    """Opens a writer for each path; all take their final names when the block ends well.

    If the block, a write or a renaming fails, no path changes and no temporary file stays.

    Raises:
        OSError: naming the path, when the disk is full, the path can't be written, or a device is there.
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
    """Replaces the file at `path` by `data`, whole or not at all."""
    with atomic_files(path) as (file,):
        file.write(data)


def write_json_atomic(path: PathLike, value: Any, *, ascii_only: bool = False) -> None:
    """Replaces the file at `path` by `value` as indented JSON in UTF-8, whole or not at all.

    With `ascii_only` all else is escaped, so names of files that are not UTF-8 can be stored.
    """
    write_bytes_atomic(path, _json_bytes(value, ascii_only))


def _json_bytes(value: Any, ascii_only: bool = False) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=ascii_only) + "\n").encode()


def display_name(path: PathLike) -> str:
    """`path` as text that can be printed; bytes that are not UTF-8 are replaced."""
    return os.fsencode(path).decode("utf-8", errors="replace")


def read_json(path: PathLike, max_bytes: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is longer than `max_bytes`, not UTF-8, not JSON, or not an object.
    """
    with open(path, "rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"{path}: expected at most {max_bytes} bytes of JSON, got more")
    return _parse_object(data, str(path))


def _parse_object(data: bytes, where: str) -> dict[str, Any]:
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


def read_config(folder: PathLike) -> dict[str, Any]:
    """config.json of a model's folder; errors as in `read_json`."""
    path = Path(folder) / CONFIG_NAME
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: no {CONFIG_NAME} here; is it a model's folder?")
    return read_json(path)


@dataclass(frozen=True)
class Entry:
    """One tensor of a safetensors file: dtype as safetensors names it, shape, bytes [begin, end)
    of the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def write_safetensors(
    file: BinaryIO, tensors: Mapping[str, pf.Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes tensors (name to Tensor, on any device) and string metadata in safetensors' format."""
    codes = {name: _code_of(name, tensor) for name, tensor in tensors.items()}
    # Widest elements first keeps every tensor aligned to its own element size.
    order = sorted(tensors, key=lambda name: (-_DTYPES[codes[name]][1].itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    begin = 0
    for name in order:
        end = begin + tensors[name].size * _DTYPES[codes[name]][1].itemsize
        shape = list(tensors[name].shape)
        header[name] = {"dtype": codes[name], "shape": shape, "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER_BYTES:
        raise ValueError(f"write_safetensors: header of {len(text)} bytes exceeds the limit")
    file.write(len(text).to_bytes(8, "little") + text)
    for name in order:
        file.write(_array_of(tensors[name]))


def _code_of(name: str, tensor: pf.Tensor) -> str:
    for code, (dtype, _) in _DTYPES.items():
        if tensor.dtype == getattr(pf, dtype):
            return code
    raise TypeError(f"write_safetensors: {name} has dtype {tensor.dtype}, which can't be stored")


def _array_of(tensor: pf.Tensor) -> np.ndarray:
    tensor = tensor.detach().to("cpu")
    if tensor.dtype == pf.bfloat16:
        bits = np.ascontiguousarray(tensor.to(pf.float32).numpy()).view(np.uint32)
        return (bits >> 16).astype("<u2")
    return np.ascontiguousarray(tensor.numpy())


def read_header(path: PathLike) -> tuple[dict[str, Entry], dict[str, str]]:
    """What a safetensors file holds: (entries by name, metadata), without reading tensors.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is truncated, too long, or not safetensors.
    """
    import safetensors

    size = os.path.getsize(path)
    with open(path, "rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > size - 8:
            raise ValueError(f"{path}: not a whole safetensors file (of {size} bytes)")
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"{path}: header of {length} bytes, expected at most {MAX_HEADER_BYTES}")
        text = file.read(length)
    try:
        # The library checks names, shapes, offsets and gaps; the offsets are all we need besides.
        with safetensors.safe_open(path, framework="np"):
            pass
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a whole safetensors file: {error}") from error
    header = _parse_object(text, str(path))
    metadata = header.pop("__metadata__", None) or {}
    entries = {name: _entry(path, name, e, 8 + length, size) for name, e in header.items()}
    return entries, metadata


def _entry(path: PathLike, name: str, raw: dict[str, Any], start: int, size: int) -> Entry:
    if raw["dtype"] not in _DTYPES:
        raise ValueError(f"{path}: {name} has dtype {raw['dtype']}, expected one of {sorted(_DTYPES)}")
    shape = tuple(raw["shape"])
    begin, end = (start + offset for offset in raw["data_offsets"])
    count = 1
    for extent in shape:
        count *= extent
    if not start <= begin <= end <= size or count * _itemsize(raw["dtype"]) != end - begin:
        raise ValueError(f"{path}: {name} of shape {shape} doesn't fit bytes {begin} to {end}")
    return Entry(raw["dtype"], shape, begin, end)


def _itemsize(code: str) -> int:
    return _DTYPES[code][1].itemsize


def read_tensor(file: BinaryIO, entry: Entry) -> pf.Tensor:
    """Reads one tensor of an open safetensors file, in the dtype of the file."""
    dtype, stored = _DTYPES[entry.dtype]
    array = np.empty(entry.shape, stored)
    file.seek(entry.begin)
    read = file.readinto(array.reshape(-1).view(np.uint8)) if array.size else 0
    if read != array.nbytes:
        raise ValueError(f"{file.name}: the file ends early: it was cut while being read")
    if dtype == "bfloat16":
        return pf.tensor((array.astype("<u4") << 16).view("<f4")).to(pf.bfloat16)
    return pf.tensor(array)


def read_safetensors(
    path: PathLike, wanted: Callable[[str], bool] | None = None
) -> tuple[dict[str, pf.Tensor], dict[str, str]]:
    """(tensors by name, metadata) of a safetensors file; `wanted(name)` chooses which to read.

    Raises as `read_header` does.
    """
    entries, metadata = read_header(path)
    with open(path, "rb") as file:
        tensors = {name: read_tensor(file, entry) for name, entry in entries.items() if wanted is None or wanted(name)}
    return tensors, metadata


def save_model(folder: PathLike, config: Mapping[str, Any], tensors: Mapping[str, pf.Tensor]) -> None:
    """Writes config.json and model.safetensors into `folder`, which is made if need be.

    Both files are complete on the disk before either replaces an older one.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_files(folder / WEIGHTS_NAME, folder / CONFIG_NAME) as (weights, text):
        write_safetensors(weights, tensors, {"format": "pt"})
        text.write(_json_bytes(dict(config)))


def save_state(path: PathLike, state: Any) -> None:
    """Saves nested dicts and lists of Tensors and JSON values in one file, for `load_state`.

    The state of an optimiser is such a value. Tuples come back as lists, and keys as strings.
    """
    tensors: dict[str, pf.Tensor] = {}
    tree = json.dumps(_without_tensors(state, tensors))
    with atomic_files(path) as (file,):
        write_safetensors(file, tensors, {"state": tree, "crc32": _checksum(tree, tensors)})


def load_state(path: PathLike) -> Any:
    """What `save_state` saved.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged or not a file of `save_state`.
    """
    tensors, metadata = read_safetensors(path)
    if "state" not in metadata:
        raise ValueError(f"{path}: not a saved state")
    if metadata.get("crc32") != _checksum(metadata["state"], tensors):
        raise ValueError(f"{path}: damaged: its checksum doesn't match what it holds")
    return _with_tensors(_parse_object(metadata["state"].encode(), str(path)), tensors, str(path))


def _checksum(tree: str, tensors: Mapping[str, pf.Tensor]) -> str:
    """CRC-32 of a state's text and of its tensors' bytes."""
    crc = zlib.crc32(tree.encode())
    for name in sorted(tensors):
        crc = zlib.crc32(_array_of(tensors[name]), crc)
    return f"{crc:08x}"


def _without_tensors(value: Any, tensors: dict[str, pf.Tensor]) -> Any:
    if isinstance(value, pf.Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = value
        return {"$tensor": name}
    if isinstance(value, Mapping):
        return {str(key): _without_tensors(item, tensors) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_tensors(item, tensors) for item in value]
    return value


def _with_tensors(value: Any, tensors: Mapping[str, pf.Tensor], where: str) -> Any:
    if isinstance(value, dict):
        if set(value) == {"$tensor"}:
            if value["$tensor"] not in tensors:
                raise ValueError(f"{where}: tensor {value['$tensor']!r} is missing")
            return tensors[value["$tensor"]]
        return {key: _with_tensors(item, tensors, where) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_tensors(item, tensors, where) for item in value]
    return value
