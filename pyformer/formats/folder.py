"""The folder of a model: config.json beside model.safetensors, or beside shards of it and their index."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pyformer as pf
from pyformer.formats.atomic import PathLike, atomic_files, json_bytes, naming, read_json
from pyformer.formats.safetensors import write_safetensors

log = logging.getLogger(__name__)

_headers: ContextVar[dict[Path, Any] | None] = ContextVar("headers", default=None)

CONFIG_NAME = "config.json"
GENERATION_NAME = "generation_config.json"
# The keys of generation_config.json that `generate` follows; those in _SILENT_KEYS don't change what it writes.
GENERATION_KEYS = (
    *("do_sample", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "eos_token_id", "pad_token_id"),
    *("num_beams", "length_penalty", "early_stopping"),
)
_SILENT_KEYS = ("bos_token_id", "transformers_version", "_from_model_config", "use_cache")
WEIGHTS_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
SHARD_BYTES = 5 << 30
SHARED = "shared"  # in a file's metadata: names that are one tensor with another


def read_config(folder: PathLike) -> dict[str, Any]:
    """config.json of a model's folder.

    Args:
        folder: a path; for a GGUF file's the content is made of its keys.

    Returns:
        Its content, a dict.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is too long or no JSON object, as in `read_json`.

    Example:
        >>> pf.formats.save_model(folder, {"model_type": "own"}, {"x": pf.ones(2)})
        >>> pf.formats.read_config(folder)
        {'model_type': 'own'}
    """
    path = Path(folder) / CONFIG_NAME
    if Path(folder).is_file():
        from pyformer.formats.gguf import families

        return families.read_config(gguf_file(folder))
    if not path.is_file():
        hint = "is it a model's folder? Nothing is fetched from a hub"
        raise FileNotFoundError(f"{folder}: no {CONFIG_NAME} here; {hint}")
    return read_json(path)


@contextmanager
def reading_once() -> Iterator[None]:
    """Within, the header of a GGUF file is read once: its tokens take longer than a small model's weights."""
    before = _headers.set({} if _headers.get() is None else _headers.get())
    try:
        yield
    finally:
        _headers.reset(before)


def gguf_file(path: PathLike) -> Any:
    """The `GGUFFile` of a path, whose module is imported where there is such a file only."""
    from pyformer.formats.gguf.reader import GGUFFile

    headers = _headers.get()
    if headers is None:
        return GGUFFile(path)
    if Path(path) not in headers:
        headers[Path(path)] = GGUFFile(path)
    return headers[Path(path)]


def naming_config(folder: PathLike) -> AbstractContextManager[None]:
    """Makes errors of what config.json says, or a GGUF file, name it."""
    return naming(folder if Path(folder).is_file() else Path(folder) / CONFIG_NAME)


def read_generation(folder: PathLike, also: Collection[str] = ()) -> dict[str, Any] | None:
    """generation_config.json of a model's folder; a warning (logger "pyformer") names what `generate` does not follow.

    Args:
        folder: a path.
        also: further keys that are followed.

    Returns:
        Its content, a dict, or None where there is no such file.

    Raises:
        ValueError: the file is too long or no JSON object, as in `read_json`.

    Example:
        >>> pf.formats.write_json_atomic(folder / "generation_config.json", {"top_k": 40})
        >>> pf.formats.read_generation(folder)
        {'top_k': 40}
    """
    path = Path(folder) / GENERATION_NAME
    said = read_json(path) if path.is_file() else None
    unknown = {k for k, v in (said or {}).items() if v not in (None, False)} - {*GENERATION_KEYS, *_SILENT_KEYS, *also}
    if unknown:
        log.warning("%s has keys that are ignored: %s", GENERATION_NAME, ", ".join(sorted(unknown)[:20]))
    return said


def save_model(
    folder: PathLike,
    config: Mapping[str, Any],
    tensors: Mapping[str, pf.Tensor],
    transposed: Collection[str] = (),
    shard_bytes: int = SHARD_BYTES,
    generation: Mapping[str, Any] | None = None,
    shared: Mapping[str, str] | None = None,
) -> None:
    """Writes config.json, model.safetensors and, if given, generation_config.json into `folder`, made if need be.

    All files are complete on the disk before any replaces an older one, and those that no longer hold are removed.
    `model.save_pretrained` calls this.

    Args:
        folder: a path.
        config: the content of config.json.
        tensors: by name.
        transposed: the names of matrices that are written transposed.
        shard_bytes: more of tensors go to files named model-00001-of-00002.safetensors and so on, beside
            model.safetensors.index.json, as `transformers` has them.
        generation: the content of generation_config.json; by default there is none, nor one left from before.
        shared: names that are one tensor with another, and that other's; each is written, and the files say so.

    Raises:
        OSError: a file can't be written.
        TypeError: a tensor is of a dtype that can't be stored.

    Example:
        >>> pf.formats.save_model(folder, {"model_type": "own"}, {"x": pf.ones(2)})
        >>> sorted(path.name for path in folder.iterdir())
        ['config.json', 'model.safetensors']
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    groups = _shards(tensors, shard_bytes)
    metadata = {"format": "pt"} if not shared else {"format": "pt", SHARED: json.dumps(dict(shared))}
    names = [f"model-{i + 1:05}-of-{len(groups):05}.safetensors" for i in range(len(groups))]
    head, stale = (WEIGHTS_NAME, INDEX_NAME) if len(groups) == 1 else (INDEX_NAME, WEIGHTS_NAME)
    shards = [head] if len(groups) == 1 else names
    texts = {CONFIG_NAME: config} if generation is None else {CONFIG_NAME: config, GENERATION_NAME: generation}
    paths = [folder / name for name in dict.fromkeys([head, *texts, *shards])]
    with atomic_files(*paths) as files:
        opened = dict(zip((path.name for path in paths), files, strict=True))
        for name, group in zip(shards, groups, strict=True):
            write_safetensors(opened[name], group, metadata, transposed)
        if len(groups) > 1:
            opened[head].write(json_bytes(_index(names, groups)))
        for name, values in texts.items():
            opened[name].write(json_bytes(dict(values)))
    # What an earlier save left must not stay beside this one: readers take model.safetensors where there is one, and
    # follow a generation_config.json.
    for name in [stale] if generation is not None else [stale, GENERATION_NAME]:
        (folder / name).unlink(missing_ok=True)


def save_gguf(
    path: PathLike,
    config: Mapping[str, Any],
    tensors: Mapping[str, Any],
    tokenizer: Any = None,
    shared: Mapping[str, str] | None = None,
) -> None:
    """Writes a model as one GGUF file, whole or not at all. `model.save_pretrained` calls this for such a path.

    Args:
        path: of the file, which is replaced.
        config: what config.json would say, of a family in docs/checkpoints.md.
        tensors: by Hugging Face's names, without a prefix: float32, float16 or bfloat16, or `pf.QuantizedWeight` of a
            format of GGUF.
        tokenizer: a `BPETokenizer` that goes into the file, or None.
        shared: names that are one tensor with another, and that other's; each is written, and a key says so.

    Raises:
        OSError: the file can't be written.
        TypeError: a tensor is of another dtype, or the tokenizer of another kind.
        ValueError: GGUF has no key or name for something.

    Example:
        >>> config = pf.models.LlamaConfig(10, 8, num_layers=1, num_heads=2, embed_dim=8)
        >>> model = pf.models.Llama(config)
        >>> model.save_pretrained(folder / "model.gguf")
        >>> again = pf.from_pretrained(folder / "model.gguf")
        >>> (again([[1, 2]]) == model([[1, 2]])).numpy().all().item()
        True
    """
    from pyformer.formats.gguf import families
    from pyformer.formats.gguf.tokenizer import tokenizer_keys
    from pyformer.formats.gguf.writer import write_gguf

    keys = families.file_keys(config) | families.shared_keys(shared or {})
    if tokenizer is not None:
        if not hasattr(tokenizer, "to_json"):
            raise TypeError(f"save_gguf: tokenizer must be a BPETokenizer, got {type(tokenizer).__name__}")
        keys |= tokenizer_keys(*tokenizer.to_json())
    named = families.file_tensors(config, tensors)
    with atomic_files(path) as (file,):
        write_gguf(file, keys, named)


def _index(names: list[str], groups: list[dict[str, pf.Tensor]]) -> dict[str, Any]:
    size = sum(_bytes(tensor) for group in groups for tensor in group.values())
    places = {name: file for file, group in zip(names, groups, strict=True) for name in group}
    return {"metadata": {"total_size": size}, "weight_map": dict(sorted(places.items()))}


def _shards(tensors: Mapping[str, pf.Tensor], most_bytes: int) -> list[dict[str, pf.Tensor]]:
    """The tensors in groups of at most `most_bytes`, in order; one that is larger stands alone."""
    groups: list[dict[str, pf.Tensor]] = [{}]
    room = most_bytes
    for name, tensor in tensors.items():
        if _bytes(tensor) > room and groups[-1]:
            groups.append({})
            room = most_bytes
        groups[-1][name] = tensor
        room -= _bytes(tensor)
    return groups


def _bytes(tensor: pf.Tensor) -> int:
    return tensor.size * tensor.dtype.itemsize
