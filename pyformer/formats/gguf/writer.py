"""GGUF files, written: F32, F16 and BF16."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

import pyformer as pf
from pyformer.formats.gguf.reader import ARRAY, BOOL, FLOAT32, INT32, MAGIC, MAX_NAME_BYTES, STRING, UINT32
from pyformer.formats.safetensors import array_of

ALIGNMENT = 32
_CODES = {pf.float32: 0, pf.float16: 1, pf.bfloat16: 30}
_ARRAYS = {"int32": INT32, "float32": FLOAT32}


def write_gguf(file: BinaryIO, keys: Mapping[str, Any], tensors: Mapping[str, pf.Tensor]) -> None:
    """Writes keys and tensors as a GGUF file of version 3.

    Args:
        file: open for writing bytes.
        keys: each a bool, int (uint32), float (float32), str, list of str or of bool, or array of int32 or float32.
        tensors: by name, of 1 to 4 axes, float32, float16 or bfloat16; those of one axis are written as float32.

    Raises:
        TypeError: a key or tensor is of another type.
        ValueError: a tensor's name is too long, or it has no axes or more than 4.
    """
    tensors = {name: t if t.ndim > 1 or t.dtype == pf.float64 else t.to(pf.float32) for name, t in tensors.items()}
    head = [MAGIC, struct.pack("<IQQ", 3, len(tensors), len(keys))]
    for key, value in keys.items():
        head += [_string(key), _value(key, value)]
    offset = 0
    for name, tensor in tensors.items():
        if tensor.dtype not in _CODES:
            raise TypeError(f"write_gguf: {name} must be float32, float16 or bfloat16, got {tensor.dtype}")
        if len(name.encode()) >= MAX_NAME_BYTES or not 1 <= tensor.ndim <= 4:
            raise ValueError(f"write_gguf: {name} must have a name of {MAX_NAME_BYTES - 1} bytes and 1 to 4 axes")
        sizes = struct.pack(f"<I{tensor.ndim}Q", tensor.ndim, *tensor.shape[::-1])
        head += [_string(name), sizes, struct.pack("<IQ", _CODES[tensor.dtype], offset)]
        offset += _padded(tensor.size * tensor.dtype.itemsize)
    data = b"".join(head)
    file.write(data + bytes(_padded(len(data)) - len(data)))
    for tensor in tensors.values():
        array = array_of(tensor)
        file.write(array)
        file.write(bytes(_padded(array.nbytes) - array.nbytes))


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
