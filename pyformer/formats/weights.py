"""The tensors of a model's folder: matched with those of a model, then read into their memory."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import pyformer as pf
from pyformer import _core, nn
from pyformer.formats.atomic import PathLike, parse_object, read_json
from pyformer.formats.folder import INDEX_NAME, SHARED, WEIGHTS_NAME, gguf_file
from pyformer.formats.layout import Layout
from pyformer.formats.safetensors import Entry, read_header, read_tensor

log = logging.getLogger(__name__)

Model = TypeVar("Model", bound=nn.Module)

MAX_INDEX_BYTES = 32 << 20
# This much of a file is read at a time, so no more than this is in memory beside the weights, whatever their dtype.
CHUNK_BYTES = 1 << 20


class Weights:
    """What a folder's model.safetensors holds, or the files that its index names, by names without the prefix.

    Args:
        folder: a path; that of a GGUF file stands for a folder that would hold the same tensors.
        layout: how the names in files differ from ours.
        quantized: of matrices that safetensors files hold as blocks, by their names there, the format and the width.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: one is damaged, or the index or `quantized` doesn't say what the files hold.

    Example:
        >>> pf.formats.save_model(folder, {}, {"weight": 2 * pf.ones(1, 2)})
        >>> weights = pf.formats.Weights(folder, pf.formats.OWN)
        >>> layer = weights.fill(pf.nn.Linear(2, 1, bias=False))
        >>> layer.weight.detach()
        tensor([[2., 2.]], dtype=float32)
    """

    def __init__(
        self, folder: PathLike, layout: Layout, quantized: Mapping[str, tuple[str, int]] | None = None
    ) -> None:
        self.layout, self.path = layout, Path(folder)
        self.shared: dict[str, str] = {}
        entries = self._of_gguf() if self.path.is_file() else self._of_folder(self.path)
        for name, (kind, width) in (quantized or {}).items():
            entries[name] = self._of_blocks(name, entries.get(name), kind, width)
        self.entries = {name.removeprefix(layout.prefix): entry for name, entry in entries.items()}
        if len(self.entries) != len(entries):
            raise ValueError(f"{self.path}: names with and without the prefix {layout.prefix!r} repeat")

    def _of_blocks(self, name: str, found: tuple[Path, Entry] | None, kind: str, width: int) -> tuple[Path, Entry]:
        if found is None or found[1].dtype != "U8" or len(found[1].shape) != 2 or min(found[1].shape) < 1:
            raise ValueError(f"{self.path}: expected blocks of bytes (n, bytes of a row) in {name}")
        numbers, size = _core.quantized_formats()[kind]
        if -(-width // numbers) * size != found[1].shape[1]:
            raise ValueError(f"{self.path}: {name} of width {width} in {kind} doesn't fit {found[1].shape}")
        return found[0], replace(found[1], dtype=kind, shape=(found[1].shape[0], width))

    def _of_gguf(self) -> dict[str, tuple[Path, Entry]]:
        from pyformer.formats.gguf import families

        file = gguf_file(self.path)
        families.warn_of_config(file)
        self.shared = families.read_shared(file)
        return {name: (self.path, entry) for name, entry in families.stored_entries(file).items()}

    def _of_folder(self, folder: Path) -> dict[str, tuple[Path, Entry]]:
        self.path = folder / WEIGHTS_NAME
        if not self.path.is_file():
            return self._of_shards(folder)
        return {name: (self.path, entry) for name, entry in self._entries(self.path).items()}

    def _of_shards(self, folder: Path) -> dict[str, tuple[Path, Entry]]:
        if not (folder / INDEX_NAME).is_file():
            raise FileNotFoundError(f"{folder}: no {WEIGHTS_NAME} here")
        self.path = folder / INDEX_NAME
        places = read_json(self.path, MAX_INDEX_BYTES).get("weight_map")
        if not isinstance(places, dict) or not all(_is_plain_name(file) for file in places.values()):
            raise ValueError(f"{self.path}: weight_map must be names of tensors and of files beside it")
        entries: dict[str, tuple[Path, Entry]] = {}
        present = {path.name for path in folder.iterdir() if path.is_file()}
        for file in sorted(set(places.values())):
            if file not in present:
                raise FileNotFoundError(f"{folder}: no {file} here, which {INDEX_NAME} names")
            entries |= {name: (folder / file, entry) for name, entry in self._entries(folder / file).items()}
        wrong = [name for name, file in places.items() if name not in entries or entries[name][0].name != file]
        extra = [name for name in entries if name not in places]
        if wrong or extra:
            raise ValueError(f"{self.path}: tensors are not where it says: missing {wrong[:5]}, unexpected {extra[:5]}")
        return entries

    def _entries(self, path: Path) -> dict[str, Entry]:
        entries, metadata = read_header(path)
        if metadata.get("format") in ("tf", "flax"):
            kind = metadata["format"]
            raise ValueError(f"{path}: format must be 'pt', got {kind!r}, which has names and shapes of its own")
        shared = parse_object(metadata.get(SHARED, "{}").encode(), str(path))
        if not all(isinstance(other, str) for other in shared.values()):
            raise ValueError(f"{path}: {SHARED} must be names of tensors, got {shared}")
        prefix = self.layout.prefix
        self.shared |= {name.removeprefix(prefix): other.removeprefix(prefix) for name, other in shared.items()}
        return entries

    def check_layers(self, layers: int) -> None:
        """ValueError unless there may be so many layers: each has a tensor."""
        if layers > len(self.entries):
            raise ValueError(f"{self.path}: config.json means {layers} layers, got {len(self.entries)} tensors")

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """ValueError or TypeError unless the tensors are those of a model with these names and shapes."""
        self._part(shapes)
        names = {name: self.layout.stored_name(name) for name in shapes}
        wanted = set(names.values())
        missing = [self.layout.stacked_name(name) or n for name, n in names.items() if n not in self.entries]
        missing = list(dict.fromkeys(missing))
        extra = [n for n in self.entries if n not in wanted and not re.fullmatch(self.layout.redundant, n)]
        unused = [n for n in extra if re.fullmatch(self.layout.unused, n)]
        extra = [n for n in extra if n not in unused]
        if missing or extra:
            raise ValueError(
                f"{self.path}: config.json means {len(shapes)} tensors, got {len(self.entries)}: "
                f"missing tensors {missing[:5]}, unexpected {extra[:5]}"
            )
        wrong = []
        for name, shape in shapes.items():
            entry = self.entries[names[name]][1]
            stored = shape[::-1] if self._is_transposed(name, entry) else shape
            if entry.shape != stored:
                wrong.append(f"{names[name]} must be {stored}, got {entry.shape}")
            elif not entry.is_float:
                raise TypeError(f"{self.path}: {names[name]} must be of a float dtype, got {entry.dtype}")
        if wrong:
            means = sum(math.prod(shape) for shape in shapes.values())
            held = sum(math.prod(self.entries[stored][1].shape) for stored in wanted)
            raise ValueError(f"{self.path}: {'; '.join(wrong[:3])}: config.json means {means} numbers, got {held}")
        if unused:
            log.warning("%s: parts that this model doesn't have are left out: %s", self.path, ", ".join(unused[:20]))

    def _part(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """What files hold row upon row becomes the entries of its parts, which lie one after the other."""
        for stored in list(self.entries):
            parts = self.layout.parts_of(stored)
            if not parts or any(part not in shapes for part in parts):
                continue
            path, entry = self.entries.pop(stored)
            rows = [shapes[part][0] for part in parts]
            wanted = (sum(rows), *shapes[parts[0]][1:])
            if entry.shape != wanted:
                raise ValueError(f"{self.path}: {stored} must be {wanted}, got {entry.shape}")
            row_bytes, begin = (entry.end - entry.begin) // wanted[0], entry.begin
            for part, count in zip(parts, rows, strict=True):
                name, end = self.layout.stored_name(part), begin + count * row_bytes
                if name in self.entries:
                    raise ValueError(f"{self.path}: {name} is there twice, by itself and in {stored}")
                self.entries[name] = path, replace(entry, shape=shapes[part], begin=begin, end=end)
                begin = end

    def has_own_head(self) -> bool:
        """Whether there is a last projection that differs from the embedding."""
        if self.layout.tie is None or any(name not in self.entries for name in self.layout.tie):
            return False
        (one_path, one), (other_path, other) = (self.entries[name] for name in self.layout.tie)
        if one.shape != other.shape:
            return True
        rows = max(1, CHUNK_BYTES * one.shape[0] // max(1, one.end - one.begin)) if one.shape else 1
        with open(one_path, "rb") as one_file, open(other_path, "rb") as other_file:
            return any(
                not _are_equal(one.read_rows(one_file, begin, rows), other.read_rows(other_file, begin, rows))
                for begin in range(0, one.shape[0] if one.shape else 0, rows)
            )

    def dtype(self) -> Any:
        """In which dtype to open: float64 if a tensor is of it, else float32."""
        return pf.float64 if any(entry.dtype == "F64" for _, entry in self.entries.values()) else pf.float32

    def _is_transposed(self, name: str, entry: Entry) -> bool:
        return self.layout.is_transposed(name) and not entry.has_rows_of_outputs

    def fill(self, model: Model, quantized: bool = False) -> Model:
        """Reads the values of `model`, whose names and shapes `check` has seen, into its own memory.

        What was one tensor when it was saved is one again. With `quantized`, matrices that files hold in 8 or fewer
        bits a number stay so.
        """
        if quantized:
            self._fill_quantized(model)
        names = {self.layout.stored_name(name): name for name in model.state_dict()}
        for name, other in self.shared.items():
            if name in names and other in names:
                model.share(names[name], names[other])
        for name, tensor in model.state_dict().items():
            path, entry = self.entries[self.layout.stored_name(name)]
            with open(path, "rb") as file:
                _read_into(tensor, file, entry, self._is_transposed(name, entry))
        return model

    def _fill_quantized(self, model: nn.Module) -> None:
        read: dict[str, pf.QuantizedWeight] = {}
        for name, module in model.named_modules():
            stored = self.layout.stored_name(f"{name}.weight")
            path, entry = self.entries.get(stored, (self.path, None))
            if not isinstance(module, nn.Projection) or entry is None or not entry.is_quantized:
                continue
            if module.quantized is None:  # a module that stands at two places is filled once
                matrix = read.get(self.shared.get(stored, stored))
                if matrix is None:
                    with open(path, "rb") as file:
                        matrix = read[stored] = entry.read_quantized(file)
                module.quantize(matrix)


def _read_into(tensor: pf.Tensor, file: Any, entry: Entry, transposed: bool) -> None:
    if tensor.ndim == 0:
        tensor[()] = read_tensor(file, entry).to(tensor.dtype).to(tensor.device)
        return
    rows = max(1, CHUNK_BYTES * entry.shape[0] // max(1, entry.end - entry.begin))
    for begin in range(0, entry.shape[0], rows):
        part = entry.read_rows(file, begin, rows).to(tensor.dtype).to(tensor.device)
        if transposed:
            tensor[:, begin : begin + rows] = part.T
        else:
            tensor[begin : begin + rows] = part


def _are_equal(a: pf.Tensor, b: pf.Tensor) -> bool:
    return np.array_equal(a.to(pf.float64).numpy(), b.to(pf.float64).numpy(), equal_nan=True)


def _is_plain_name(file: Any) -> bool:
    return isinstance(file, str) and file not in ("", ".", "..") and not set(file) & set("/\\\0")
