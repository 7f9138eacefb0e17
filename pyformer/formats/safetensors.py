"""Tensors in a file in safetensors' format; what is read is checked before memory is taken for it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import numpy as np

import pyformer as pf
from pyformer import _core
from pyformer.formats.atomic import PathLike, parse_object

MAX_HEADER_BYTES = 32 << 20

# safetensors' name of a dtype: (ours, NumPy's for its bytes); bfloat16 travels as its bits.
_DTYPES = {
    "F64": ("float64", np.dtype("<f8")),
    "F32": ("float32", np.dtype("<f4")),
    "F16": ("float16", np.dtype("<f2")),
    "BF16": ("bfloat16", np.dtype("<u2")),
    "I64": ("int64", np.dtype("<i8")),
    "I32": ("int32", np.dtype("<i4")),
    "I8": ("int8", np.dtype("i1")),
    "U8": ("uint8", np.dtype("u1")),
    "BOOL": ("bool", np.dtype("?")),
}
_FORMATS = _core.quantized_formats()


@dataclass(frozen=True)
class Stacked:
    """Tensors that are written as one, row upon row; no copy of them is made.

    Args:
        parts: Tensors (N, ...), alike but for N.

    Raises:
        IndexError: later, there are no parts.

    Example:
        >>> pf.formats.Stacked((pf.ones(2, 3), pf.ones(1, 3))).shape
        (3, 3)
    """

    parts: tuple[pf.Tensor, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The extents of the whole."""
        return (sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:])

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return sum(part.size for part in self.parts)

    @property
    def dtype(self) -> pf.DType:
        """The element type."""
        return self.parts[0].dtype


@dataclass(frozen=True)
class Entry:
    """One tensor of a safetensors file.

    Args:
        dtype: as safetensors names it, such as "F32".
        shape: the extents.
        begin, end: its bytes [begin, end) of the file.

    Example:
        >>> pf.formats.Entry("F32", (2, 3), begin=80, end=104).shape
        (2, 3)
    """

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def is_float(self) -> bool:
        """Whether the numbers are floats."""
        return self.dtype in ("F64", "F32", "F16", "BF16") or self.is_quantized

    @property
    def is_quantized(self) -> bool:
        """Whether they are blocks of a format of `pf.QuantizedWeight`."""
        return self.dtype in _FORMATS and len(self.shape) == 2

    @property
    def has_rows_of_outputs(self) -> bool:
        """Whether a matrix is (out, in) also where the family's folders have it transposed."""
        return self.is_quantized

    def read_quantized(self, file: BinaryIO) -> pf.QuantizedWeight:
        """The matrix of the open file, as it is there."""
        row_bytes = (self.end - self.begin) // self.shape[0]
        blocks = _read_bytes(file, self.begin, self.end - self.begin).reshape(self.shape[0], row_bytes)
        return pf.QuantizedWeight(self.dtype, self.shape[1], pf.asarray(self.ordered(blocks)))

    def ordered(self, rows: np.ndarray) -> np.ndarray:
        """Rows of the whole tensor in the order that `read_rows` gives."""
        return rows

    def read_rows(self, file: BinaryIO, begin: int, rows: int) -> pf.Tensor:
        """Rows [begin, begin + rows), or fewer at the end, of a tensor (N, ...) of the open file that it is of."""
        shape = (min(rows, self.shape[0] - begin), *self.shape[1:])
        row_bytes = (self.end - self.begin) // self.shape[0]
        if self.is_quantized:
            first = self.begin + begin * row_bytes
            return (
                replace(self, shape=shape, begin=first, end=first + shape[0] * row_bytes)
                .read_quantized(file)
                .dequantize()
            )
        return _read(file, self, self.begin + begin * row_bytes, shape)


def write_safetensors(
    file: BinaryIO,
    tensors: Mapping[str, pf.Tensor | Stacked],
    metadata: Mapping[str, str] | None = None,
    transposed: Collection[str] = (),
) -> None:
    """Writes tensors and strings in safetensors' format.

    Args:
        file: open for writing bytes.
        tensors: name to Tensor, on any device, or to `Stacked`.
        metadata: strings by name, which go into the header.
        transposed: the names of matrices that are written transposed.

    Raises:
        TypeError: a tensor is of a dtype that can't be stored.
        ValueError: the names are too long for a header.

    Example:
        >>> with pf.formats.atomic_files(folder / "x.safetensors") as (file,):
        ...     pf.formats.write_safetensors(file, {"x": pf.ones(2)}, {"by": "me"})
        >>> pf.formats.read_safetensors(folder / "x.safetensors")
        ({'x': tensor([1., 1.], dtype=float32)}, {'by': 'me'})
    """
    codes = {name: _code_of(name, tensor) for name, tensor in tensors.items()}
    # Widest elements first keeps every tensor aligned to its own element size.
    order = sorted(tensors, key=lambda name: (-_DTYPES[codes[name]][1].itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    begin = 0
    for name in order:
        end = begin + tensors[name].size * _DTYPES[codes[name]][1].itemsize
        shape = list(tensors[name].shape)[:: -1 if name in transposed else 1]
        header[name] = {"dtype": codes[name], "shape": shape, "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER_BYTES:
        raise ValueError(f"write_safetensors: header of {len(text)} bytes exceeds the limit")
    file.write(len(text).to_bytes(8, "little") + text)
    for name in order:
        tensor = tensors[name]
        for part in tensor.parts if isinstance(tensor, Stacked) else (tensor,):
            file.write(array_of(part.detach().T if name in transposed else part))


def _code_of(name: str, tensor: pf.Tensor | Stacked) -> str:
    for code, (dtype, _) in _DTYPES.items():
        if tensor.dtype == getattr(pf, dtype):
            return code
    raise TypeError(f"write_safetensors: {name} has dtype {tensor.dtype}, which can't be stored")


def array_of(tensor: pf.Tensor) -> np.ndarray:
    tensor = tensor.detach().to("cpu")
    if tensor.dtype == pf.bfloat16:
        bits = np.ascontiguousarray(tensor.to(pf.float32).numpy()).view(np.uint32)
        return (bits >> 16).astype("<u2")
    return np.ascontiguousarray(tensor.numpy())


def read_header(path: PathLike) -> tuple[dict[str, Entry], dict[str, str]]:
    """What a safetensors file holds, without reading tensors.

    Args:
        path: of the file.

    Returns:
        (`Entry` by name, metadata by name).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is truncated, too long, or not safetensors.

    Example:
        >>> with pf.formats.atomic_files(folder / "x.safetensors") as (file,):
        ...     pf.formats.write_safetensors(file, {"x": pf.ones(2, 3)})
        >>> entries, metadata = pf.formats.read_header(folder / "x.safetensors")
        >>> entries["x"].dtype, entries["x"].shape
        ('F32', (2, 3))
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
    header = parse_object(text, str(path))
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
    """Reads one tensor of an open safetensors file.

    Args:
        file: open for reading bytes.
        entry: which, of `read_header`.

    Returns:
        Tensor of the dtype of the file, on the CPU.

    Raises:
        ValueError: the file ends early.

    Example:
        >>> with pf.formats.atomic_files(folder / "x.safetensors") as (file,):
        ...     pf.formats.write_safetensors(file, {"x": pf.ones(2)})
        >>> entries, _ = pf.formats.read_header(folder / "x.safetensors")
        >>> with open(folder / "x.safetensors", "rb") as file:
        ...     pf.formats.read_tensor(file, entries["x"])
        tensor([1., 1.], dtype=float32)
    """
    return _read(file, entry, entry.begin, entry.shape)


def _read(file: BinaryIO, entry: Entry, begin: int, shape: tuple[int, ...]) -> pf.Tensor:
    dtype, stored = _DTYPES[entry.dtype]
    array = _read_bytes(file, begin, math.prod(shape) * stored.itemsize).view(stored).reshape(shape)
    if dtype == "bfloat16":
        return pf.asarray((array.astype("<u4") << 16).view("<f4")).to(pf.bfloat16)
    return pf.asarray(array)


def _read_bytes(file: BinaryIO, begin: int, size: int) -> np.ndarray:
    data = np.empty(size, np.uint8)
    file.seek(begin)
    if (file.readinto(data) if size else 0) != size:
        raise ValueError(f"{file.name}: the file ends early: it was cut while being read")
    return data


def read_safetensors(
    path: PathLike, wanted: Callable[[str], bool] | None = None
) -> tuple[dict[str, pf.Tensor], dict[str, str]]:
    """Reads the tensors of a safetensors file.

    Args:
        path: of the file.
        wanted: wanted(name) is true for those to be read, all by default.

    Returns:
        (Tensors by name, of the dtypes of the file, on the CPU; metadata by name).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is truncated, too long, or not safetensors.

    Example:
        >>> with pf.formats.atomic_files(folder / "x.safetensors") as (file,):
        ...     pf.formats.write_safetensors(file, {"x": pf.ones(2), "y": pf.zeros(2)})
        >>> pf.formats.read_safetensors(folder / "x.safetensors", lambda name: name == "y")
        ({'y': tensor([0., 0.], dtype=float32)}, {})
    """
    entries, metadata = read_header(path)
    with open(path, "rb") as file:
        tensors = {name: read_tensor(file, entry) for name, entry in entries.items() if wanted is None or wanted(name)}
    return tensors, metadata
