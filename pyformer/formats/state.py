"""Nested values with Tensors in them, such as an optimiser's state, in one safetensors file."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

import pyformer as pf
from pyformer.formats.atomic import PathLike, atomic_files, parse_object
from pyformer.formats.safetensors import array_of, read_safetensors, write_safetensors


def save_state(path: PathLike, state: Any) -> None:
    """Saves nested dicts and lists of Tensors and JSON values in one file, for `load_state`.

    The state of an optimiser is such a value. Tuples come back as lists, and keys as strings.

    Args:
        path: of the file, which is replaced as a whole.
        state: the value.

    Raises:
        OSError: the file can't be written.
        TypeError: there is something else in it.

    Example:
        >>> pf.formats.save_state(folder / "state", {"step": 3, "moments": [pf.ones(2)]})
        >>> pf.formats.load_state(folder / "state")
        {'step': 3, 'moments': [tensor([1., 1.], dtype=float32)]}
    """
    tensors: dict[str, pf.Tensor] = {}
    tree = json.dumps(_without_tensors(state, tensors))
    with atomic_files(path) as (file,):
        write_safetensors(file, tensors, {"state": tree, "crc32": _checksum(tree, tensors)})


def load_state(path: PathLike) -> Any:
    """What `save_state` saved.

    Args:
        path: of the file.

    Returns:
        The value; its Tensors are on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged or not a file of `save_state`.

    Example:
        >>> pf.formats.save_state(folder / "state", {"step": 3})
        >>> pf.formats.load_state(folder / "state")
        {'step': 3}
    """
    tensors, metadata = read_safetensors(path)
    if "state" not in metadata:
        raise ValueError(f"{path}: not a saved state")
    if metadata.get("crc32") != _checksum(metadata["state"], tensors):
        raise ValueError(f"{path}: damaged: its checksum doesn't match what it holds")
    return _with_tensors(parse_object(metadata["state"].encode(), str(path)), tensors, str(path))


def _checksum(tree: str, tensors: Mapping[str, pf.Tensor]) -> str:
    """CRC-32 of a state's text and of its tensors' bytes."""
    crc = zlib.crc32(tree.encode())
    for name in sorted(tensors):
        crc = zlib.crc32(array_of(tensors[name]), crc)
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
            name = value["$tensor"]
            if not isinstance(name, str) or name not in tensors:
                raise ValueError(f"{where}: tensor {name!r} is missing")
            return tensors[name]
        return {key: _with_tensors(item, tensors, where) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_tensors(item, tensors, where) for item in value]
    return value
