"""What a GGUF file holds. Nothing in it is believed: each length is compared with the bytes that are left first."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

import pyformer as pf
from pyformer import _core
from pyformer.formats.atomic import PathLike
from pyformer.formats.gguf.blocks import BY_CODE, BY_NAME, dequantize
from pyformer.formats.safetensors import Entry

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_COUNT = 1 << 16  # of keys, and of tensors
MAX_NAME_BYTES = 64
MAX_ITEMS = 1 << 21  # of all arrays together
MAX_HEADER_BYTES = 1 << 27
WINDOW_BYTES = 1 << 20  # of an array of strings, read at a time
ALIGNMENTS = [1 << i for i in range(3, 21)]

STRING, ARRAY, BOOL, FLOAT32, FLOAT64, UINT32, INT32 = 8, 9, 7, 6, 12, 4, 5
# Code of a type of values: (what errors call it, NumPy's type).
_NUMBERS = {
    0: ("uint8", "<u1"),
    1: ("int8", "<i1"),
    2: ("uint16", "<u2"),
    3: ("int16", "<i2"),
    UINT32: ("uint32", "<u4"),
    INT32: ("int32", "<i4"),
    FLOAT32: ("float32", "<f4"),
    BOOL: ("bool", "<u1"),
    10: ("uint64", "<u8"),
    11: ("int64", "<i8"),
    FLOAT64: ("float64", "<f8"),
}
_TYPE_NAMES = {**{code: name for code, (name, _) in _NUMBERS.items()}, STRING: "string", ARRAY: "array"}


@dataclass(frozen=True)
class GGUFEntry(Entry):
    """One tensor of a GGUF file; dtype is a type's name, such as "Q4_1".

    `heads` is not 0 where the rows of each head are in the order of interleaved rotary positions; `shift` is what the
    file's numbers are more than ours.
    """

    heads: int = 0
    shift: float = 0.0

    @property
    def is_float(self) -> bool:
        return True

    @property
    def has_rows_of_outputs(self) -> bool:
        return True

    def read_rows(self, file: BinaryIO, begin: int, rows: int) -> pf.Tensor:
        """Rows [begin, begin + rows), or fewer at the end, as float32."""
        end = min(begin + rows, self.shape[0])
        # Rows that change places are read by whole heads. A vector is read whole: its elements lie in blocks.
        step = self.shape[0] // self.heads if self.heads else 1 if len(self.shape) > 1 else self.shape[0]
        first, last = begin // step * step, -(-end // step) * step
        row_bytes = (self.end - self.begin) // self.shape[0] if len(self.shape) > 1 else 0
        size = (last - first) * row_bytes or self.end - self.begin
        values = dequantize(self.dtype, bytes_at(file, self.begin + first * row_bytes, size))
        values = values.reshape(last - first, *self.shape[1:])
        if self.shift:
            values = values - np.float32(self.shift)
        return pf.asarray(np.ascontiguousarray(self.ordered(values)[begin - first : end - first]))

    def ordered(self, rows: np.ndarray) -> np.ndarray:
        """Whole heads of rows in the order of rotary positions in halves."""
        if not self.heads:
            return rows
        pairs = rows.reshape(-1, (self.shape[0] // self.heads) // 2, 2, *rows.shape[1:])
        return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(rows.shape)


def bytes_at(file: BinaryIO, at: int, size: int) -> np.ndarray:
    """uint8 (size,) of an open file; ValueError if it ends before."""
    data = np.empty(size, np.uint8)
    file.seek(at)
    if file.readinto(data) != size:
        raise ValueError(f"{file.name}: the file ends early: it was cut while being read")
    return data


class Metadata:
    """The keys and values of a file. Each getter wants one type and names the key where there is another."""

    def __init__(self, path: str, values: dict[str, tuple[int, Any]]) -> None:
        self.path, self.values = path, values

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def _get(self, key: str, wanted: str, fits: Any, default: Any) -> Any:
        if key not in self.values:
            if default is ...:
                raise ValueError(f"{self.path}: expected the key {key}, got none")
            return default
        code, value = self.values[key]
        if not fits(code, value):
            got = _TYPE_NAMES[code] if code == ARRAY else f"{_TYPE_NAMES[code]} {str(value)[:40]!r}"
            raise ValueError(f"{self.path}: {key} must be {wanted}, got {got}")
        return value

    def integer(self, key: str, default: Any = ..., low: int = 0, high: int = 2**31 - 1) -> Any:
        def fits(code: int, value: Any) -> bool:
            return code not in (STRING, ARRAY, BOOL, FLOAT32, FLOAT64) and low <= value <= high

        return self._get(key, f"an integer from {low} to {high}", fits, default)

    def number(self, key: str, default: Any = ...) -> Any:
        return self._get(key, "a float", lambda code, _: code in (FLOAT32, FLOAT64), default)

    def flag(self, key: str, default: Any = ...) -> Any:
        return self._get(key, "a bool", lambda code, _: code == BOOL, default)

    def text(self, key: str, default: Any = ...) -> Any:
        return self._get(key, "a string", lambda code, _: code == STRING, default)

    def texts(self, key: str, default: Any = ...) -> Any:
        """A list of strings."""
        found = self._get(key, "an array of strings", lambda _, value: isinstance(value, list), None)
        if found is None:
            return self._get(key, "an array of strings", None, default)
        try:
            return list(map(bytes.decode, found))
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.path}: {key} holds {error.object[:40]!r}, which is not UTF-8") from None

    def numbers(self, key: str, kinds: str, default: Any = ...) -> Any:
        """A NumPy array of one of these kinds, "i" or "f"."""

        def fits(_: int, value: Any) -> bool:
            return isinstance(value, np.ndarray) and value.dtype.kind in ("iu" if kinds == "i" else "f")

        return self._get(key, "an array of " + ("integers" if kinds == "i" else "floats"), fits, default)


class GGUFFile:
    """A file's keys, `metadata`, and tensors, `entries`: `GGUFEntry` by name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no GGUF file, damaged, or of a kind that is not read here.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = os.fspath(path)
        with open(path, "rb", buffering=1 << 20) as file:
            cursor = _Cursor(file, os.fstat(file.fileno()).st_size)
            _check_start(cursor)
            tensors, keys = cursor.number("<u8", "tensor count"), cursor.number("<u8", "key count")
            for what, count, least in (("tensors", tensors, 24), ("keys", keys, 13)):
                if count > min(MAX_COUNT, cursor.left // least):
                    raise cursor.error(f"{count} {what}, more than fit or than {MAX_COUNT}")
            self.metadata = Metadata(str(path), _read_keys(cursor, keys))
            described = _read_descriptions(cursor, tensors)
            alignment = self.metadata.integer("general.alignment", 32)
            if alignment not in ALIGNMENTS:
                raise cursor.error(f"general.alignment {alignment}, expected a power of two from 8 to {ALIGNMENTS[-1]}")
            start = -(-cursor.at // alignment) * alignment
            self.entries = {t.name: _placed(cursor, t, start, alignment) for t in described}
            _check_disjoint(cursor, self.entries)


@dataclass(frozen=True)
class _Description:
    name: str
    shape: tuple[int, ...]
    kind: str
    offset: int


class _Cursor:
    """Reads on through a file, never past its end, and says where it is when something is wrong."""

    def __init__(self, file: Any, size: int) -> None:
        self.file, self.size = file, size
        self.at, self.items = 0, 0

    @property
    def left(self) -> int:
        return min(self.size, MAX_HEADER_BYTES) - self.at

    def error(self, message: str) -> ValueError:
        return ValueError(f"{self.file.name}: not a GGUF file that can be read: {message} (at byte {self.at})")

    def take(self, count: int, what: str) -> bytes:
        if count > self.left:
            raise self.error(f"{what} of {count} bytes, but {max(self.left, 0)} are left of the header")
        data = self.file.read(count)
        if len(data) != count:
            raise self.error(f"{what}: it was cut while being read")
        self.at += count
        return data

    def number(self, kind: str, what: str) -> int:
        kind = np.dtype(kind)
        return int.from_bytes(self.take(kind.itemsize, what), "little", signed=kind.kind == "i")

    def text(self, what: str, longest: int = MAX_HEADER_BYTES) -> str:
        length = int.from_bytes(self.take(8, what), "little")
        if length > longest:
            raise self.error(f"{what} of {length} bytes, expected at most {longest}")
        try:
            return self.take(length, what).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.error(f"{what} is not UTF-8 ({error.reason})") from None

    def byte_strings(self, what: str, count: int) -> list[bytes]:
        """The elements of an array of strings, undecoded: there may be hundreds of thousands."""
        found: list[bytes] = []
        while len(found) < count:
            window = self.take(min(self.left, WINDOW_BYTES), what)
            strings, taken = _core.strings_in(window, count - len(found))
            self.file.seek(taken - len(window), os.SEEK_CUR)
            self.at += taken - len(window)
            found += strings if strings else [self._byte_string(what, count, len(found))]
        return found

    def _byte_string(self, what: str, count: int, number: int) -> bytes:
        """The element `number` of `count`, which may be longer than a window."""
        if self.left < 8:
            raise self.error(f"{what} has {count} strings, but the header ends at number {number}")
        length = self.number("<u8", what)
        if length > self.left:
            raise self.error(f"{what} has a string of {length} bytes, but {self.left} are left of the header")
        return self.take(length, what)


def _check_start(cursor: _Cursor) -> None:
    magic = cursor.take(4, "magic")
    if magic != MAGIC:
        raise cursor.error(f"it begins with {magic!r}, expected {MAGIC!r}")
    version = cursor.number("<u4", "version")
    if version & 0xFFFF == 0 and version:
        raise cursor.error("big-endian numbers, expected little-endian ones")
    if version not in VERSIONS:
        raise cursor.error(f"version {version}, expected 2 or 3")


def _read_keys(cursor: _Cursor, count: int) -> dict[str, tuple[int, Any]]:
    values: dict[str, tuple[int, Any]] = {}
    for _ in range(count):
        key = cursor.text("key", 1 << 16)
        if not key or key in values:
            raise cursor.error(f"key {key[:80]!r} " + ("twice" if key else "is empty"))
        code = cursor.number("<u4", f"type of {key[:80]}")
        values[key] = code, _read_value(cursor, key[:80], code)
    return values


def _read_value(cursor: _Cursor, key: str, code: int) -> Any:
    if code == STRING:
        return cursor.text(key)
    if code == ARRAY:
        return _read_array(cursor, key)
    if code not in _NUMBERS:
        raise cursor.error(f"{key} has the unknown type {code}")
    kind = np.dtype(_NUMBERS[code][1])
    data = cursor.take(kind.itemsize, key)
    if code == FLOAT32:
        return struct.unpack("<f", data)[0]
    if code == FLOAT64:
        return struct.unpack("<d", data)[0]
    value = int.from_bytes(data, "little", signed=kind.kind == "i")
    if code == BOOL and value > 1:
        raise cursor.error(f"{key} is the bool {value}, expected 0 or 1")
    return bool(value) if code == BOOL else value


def _read_array(cursor: _Cursor, key: str) -> Any:
    code, count = cursor.number("<u4", f"type of {key}"), cursor.number("<u8", f"length of {key}")
    if code != STRING and code not in _NUMBERS:
        raise cursor.error(f"{key} is an array of {_TYPE_NAMES.get(code, f'the unknown type {code}')}")
    kind = np.dtype("<u8" if code == STRING else _NUMBERS[code][1])
    if count * kind.itemsize > cursor.left or cursor.items + count > MAX_ITEMS:
        raise cursor.error(f"{key} has {count} elements, more than fit or than {MAX_ITEMS}")
    cursor.items += count
    if code == STRING:
        return cursor.byte_strings(key, count)
    return np.frombuffer(cursor.take(count * kind.itemsize, key), kind)


def _read_descriptions(cursor: _Cursor, count: int) -> list[_Description]:
    found: dict[str, _Description] = {}
    for _ in range(count):
        name = cursor.text("tensor name", MAX_NAME_BYTES)
        if not name or name in found:
            raise cursor.error(f"tensor {name!r} " + ("twice" if name else "without a name"))
        axes = cursor.number("<u4", f"axes of {name}")
        if not 1 <= axes <= 4:
            raise cursor.error(f"{name} has {axes} axes, expected 1 to 4")
        shape = tuple(cursor.number("<u8", f"shape of {name}") for _ in range(axes))[::-1]
        code = cursor.number("<u4", f"type of {name}")
        if code not in BY_CODE:
            known = ", ".join(BY_NAME)
            raise cursor.error(f"{name} is of type {code}, which is not read here: {known} are")
        if min(shape) < 1 or shape[-1] % BY_CODE[code].numbers:
            whole = BY_CODE[code].numbers
            raise cursor.error(f"{name} has shape {shape}, expected 1 or more, and the last a multiple of {whole}")
        found[name] = _Description(name, shape, BY_CODE[code].name, cursor.number("<u8", f"offset of {name}"))
    return list(found.values())


def _placed(cursor: _Cursor, tensor: _Description, start: int, alignment: int) -> GGUFEntry:
    kind = BY_NAME[tensor.kind]
    blocks = 1
    for extent in tensor.shape:  # Python's integers don't wrap
        blocks *= extent
    size = blocks // kind.numbers * kind.bytes
    begin = start + tensor.offset
    if tensor.offset % alignment or begin + size > cursor.size:
        raise cursor.error(
            f"{tensor.name} of shape {tensor.shape} takes bytes {begin} to {begin + size} of {cursor.size}, "
            f"expected them within the file and aligned to {alignment}"
        )
    return GGUFEntry(tensor.kind, tensor.shape, begin, begin + size)


def _check_disjoint(cursor: _Cursor, entries: dict[str, GGUFEntry]) -> None:
    end, before = 0, ""
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin < end:
            raise cursor.error(f"{name} and {before} share bytes")
        end, before = entry.end, name
