"""GGUF files, written: F32, F16 and BF16, and blocks of 8 and fewer bits a number."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

import pyformer as pf
from pyformer.formats.gguf.blocks import BY_NAME
from pyformer.formats.gguf.reader import ARRAY, BOOL, FLOAT32, INT32, MAGIC, MAX_NAME_BYTES, STRING, UINT32
from pyformer.formats.safetensors import array_of

ALIGNMENT = 32
_KINDS = {pf.float32: "F32", pf.float16: "F16", pf.bfloat16: "BF16"}
_ARRAYS = {"int32": INT32, "float32": FLOAT32}


@dataclass(frozen=True)
class Blocks:
    """A matrix of this shape in blocks: uint8 (n, bytes of a row) of the type called `kind`."""

    kind: str
    shape: tuple[int, int]
    data: pf.Tensor


def write_gguf(file: BinaryIO, keys: Mapping[str, Any], tensors: Mapping[str, pf.Tensor | Blocks]) -> None:
    """Writes keys and tensors as a GGUF file of version 3.

    Args:
        file: open for writing bytes.
        keys: each a bool, int (uint32), float (float32), str, list of str or of bool, or array of int32 or float32.
        tensors: by name, of 1 to 4 axes, float32, float16 or bfloat16; those of one axis are written as float32; or
            `Blocks`.

    Raises:
        TypeError: a key or tensor is of another type.
        ValueError: a tensor's name is too long, or it has no axes or more than 4.
    """
    blocks = {name: t if isinstance(t, Blocks) else _plain_blocks(name, t) for name, t in tensors.items()}
    head = [MAGIC, struct.pack("<IQQ", 3, len(blocks), len(keys))]
    for key, value in keys.items():
        head += [_string(key), _value(key, value)]
    offset = 0
    for name, tensor in blocks.items():
        if tensor.kind not in BY_NAME:
            raise ValueError(f"write_gguf: {name} is of the format {tensor.kind}, which GGUF doesn't have")
        if tensor.shape and tensor.shape[-1] % BY_NAME[tensor.kind].numbers:
            numbers = BY_NAME[tensor.kind].numbers
            raise ValueError(f"write_gguf: {name} must have rows of whole blocks of {numbers}, got {tensor.shape}")
        if len(name.encode()) >= MAX_NAME_BYTES or not 1 <= len(tensor.shape) <= 4:
            raise ValueError(f"write_gguf: {name} must have a name of {MAX_NAME_BYTES - 1} bytes and 1 to 4 axes")
        sizes = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape[::-1])
        head += [_string(name), sizes, struct.pack("<IQ", BY_NAME[tensor.kind].code, offset)]
        offset += _padded(tensor.data.size * tensor.data.dtype.itemsize)
    data = b"".join(head)
    file.write(data + bytes(_padded(len(data)) - len(data)))
    for tensor in blocks.values():
        array = array_of(tensor.data)
        file.write(array)
        file.write(bytes(_padded(array.nbytes) - array.nbytes))


def _plain_blocks(name: str, tensor: pf.Tensor) -> Blocks:
    tensor = tensor if tensor.ndim > 1 or tensor.dtype == pf.float64 else tensor.to(pf.float32)
    if tensor.dtype not in _KINDS:
        raise TypeError(f"write_gguf: {name} must be float32, float16 or bfloat16, got {tensor.dtype}")
    return Blocks(_KINDS[tensor.dtype], tensor.shape, tensor)


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _string(text: str) -> bytes:
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def _value(key: str, value: Any) -> bytes:
    """A value with its type before it."""
    if isinstance(value, bool):
        return struct.pack("<IB", BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", UINT32, value)
    if isinstance(value, float):
        return struct.pack("<If", FLOAT32, value)
    if isinstance(value, str):
        return struct.pack("<I", STRING) + _string(value)
    if isinstance(value, list) and value and all(isinstance(each, bool) for each in value):
        return struct.pack("<IIQ", ARRAY, BOOL, len(value)) + bytes(value)
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        return struct.pack("<IIQ", ARRAY, STRING, len(value)) + b"".join(map(_string, value))
    if isinstance(value, np.ndarray) and value.dtype.name in _ARRAYS:
        return struct.pack("<IIQ", ARRAY, _ARRAYS[value.dtype.name], len(value)) + value.tobytes()
    raise TypeError(f"write_gguf: {key} can't be stored, got {type(value).__name__}")
