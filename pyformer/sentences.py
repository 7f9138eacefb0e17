"""Vectors of sentences: a model reads them, and one vector is made of those of a sentence's tokens."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import formats, models, nn, ops, tokenizers
from pyformer.formats.atomic import naming
from pyformer.models.bert import BERT
from pyformer.models.decoder import Decoder
from pyformer.models.encoder import Encoder
from pyformer.nn.attention import within_lengths
from pyformer.terminal import bar

log = logging.getLogger(__name__)

MODULES_NAME, SETTINGS_NAME, POOLING_NAME = "modules.json", "sentence_bert_config.json", "config.json"
PROMPTS_NAME = "config_sentence_transformers.json"
# Keys of that file that change no vector, or that are followed elsewhere.
_SILENT_PROMPT_KEYS = {"__version__", "model_type", "similarity_fn_name", "prompts", "default_prompt_name"}
POOLINGS = ("mean", "cls", "last")
# A batch ends before a sentence shorter than this share of its longest, once it has so many tokens.
_LEAST_SHARE, _ENOUGH_TOKENS = 0.9, 256


class SentenceEncoder:
    """Makes vectors of sentences, by a model such as all-MiniLM-L6-v2; their products say how alike sentences are.

    Args:
        model: a BERT, an Encoder (ModernBERT) or a Decoder (Qwen 3 Embedding).
        tokenizer: its tokenizer.
        max_length: tokens of a sentence that are read, those that mark its start and end included; the model's context
            length by default.
        pooling: "mean" of all tokens of a sentence, "cls", the first one, or "last"; by default the last one of a
            Decoder, whose first tokens know nothing of what follows, and the mean of others.
        lower: whether texts go to the tokenizer in lower case.
        prompt: a text that is read before each.
        normalize: whether `encode` makes vectors of length 1 where it is told nothing else.
        width: how many elements of a vector are kept, the first ones; all by default.

    Raises:
        TypeError: the model or the tokenizer is of another kind; an argument is of another type.
        ValueError: max_length or width is more than the model's, or the pooling is not known.

    Source: Reimers, Gurevych 2019, "Sentence-BERT".

    Example:
        >>> encoder = pf.SentenceEncoder.from_pretrained(pf.datasets.minilm())
        >>> vectors = encoder.encode(["A man is playing a guitar.", "Someone plays music on an instrument."])
        >>> vectors.shape, round(float(vectors[0] @ vectors[1]), 3)
        ((2, 384), 0.673)
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        max_length: int | None = None,
        pooling: str | None = None,
        lower: bool = False,
        prompt: str = "",
        normalize: bool = True,
        width: int | None = None,
    ) -> None:
        if not isinstance(model, (BERT, Encoder, Decoder)):
            raise TypeError(f"SentenceEncoder: expected a BERT, Encoder or Decoder, got {type(model).__name__}")
        if not isinstance(tokenizer, tokenizers.BPETokenizer):
            raise TypeError(f"SentenceEncoder: expected a tokenizer.json's, got {type(tokenizer).__name__}")
        longest = model.config.context_length
        start, end = tokenizer.template
        if max_length is None:
            max_length = longest
        if isinstance(max_length, bool) or not isinstance(max_length, int):
            raise TypeError(f"SentenceEncoder: max_length must be an int, got {type(max_length).__name__}")
        if not len(start) + len(end) < max_length <= longest:
            raise ValueError(
                f"SentenceEncoder: max_length must be from {len(start) + len(end) + 1} to {longest}, got {max_length}"
            )
        if pooling is None:
            pooling = "last" if isinstance(model, Decoder) else "mean"
        if pooling not in POOLINGS:
            raise ValueError(f"SentenceEncoder: pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}")
        if tokenizer.vocab_size > model.config.vocab_size:
            sizes = f"the tokenizer has {tokenizer.vocab_size} tokens, the model {model.config.vocab_size}"
            raise ValueError(f"SentenceEncoder: {sizes}")
        width = model.config.embed_dim if width is None else width
        for name, value, kind in (("prompt", prompt, str), ("normalize", normalize, bool), ("width", width, int)):
            if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
                raise TypeError(f"SentenceEncoder: {name} must be of {kind.__name__}, got {type(value).__name__}")
        if not 1 <= width <= model.config.embed_dim:
            raise ValueError(f"SentenceEncoder: width must be from 1 to {model.config.embed_dim}, got {width}")
        self.model, self.tokenizer, self.max_length = model, tokenizer, max_length
        self.pooling, self.lower, self.prompt, self.normalize, self.width = pooling, lower, prompt, normalize, width

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike, *, dtype: Any = None, device: Any = None) -> SentenceEncoder:
        """Opens a folder of the library `sentence-transformers`, or one with a model and its tokenizer.

        What it says of where the model lies, of the length, the pooling, the default prompt, the width and of whether
        vectors get length 1 is followed, and so is a GGUF file's word on pooling. Without a word the mean is taken, of
        a Decoder the last token, of length 1. Prompts that are not the default, and what else is not followed, are
        named in a warning (logger "pyformer").

        Args:
            folder: a path, also of a GGUF file with a tokenizer.
            dtype, device: as in `pf.from_pretrained`.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is damaged, or asks for what isn't here, such as another pooling or a further layer.
            TypeError: the model is of another kind.
            ImportError: without the extra `[hf]`.
        """
        folder = Path(folder)
        inner, said = _said(folder)
        model = models.from_pretrained(inner, dtype=dtype, device=device)
        with naming(folder):
            return cls(model, tokenizers.load(inner), **said)

    def encode(
        self, texts: Sequence[str], batch_size: int = 32, normalize: bool | None = None, progress: bool = False
    ) -> np.ndarray:
        """The vectors of texts; long ones are cut to `max_length` tokens.

        A text's vector does not depend on the others: batches are made of texts of about one length, and no bit of a
        row depends on its neighbours or on padding.

        Args:
            texts: n of them, any strings, also empty ones.
            batch_size: how many are read at once, at most.
            normalize: whether vectors are made to have length 1; as the encoder was made by default.
            progress: draw a bar on stderr.

        Returns:
            NumPy float32 (n, `width`), float64 for a float64 model.

        Raises:
            TypeError: texts is no list of strings; batch_size is no int.
            ValueError: a text holds a lone surrogate, or has no tokens and the tokenizer marks no start; batch_size is
                below 1.
        """
        if not isinstance(texts, str):
            texts = list(texts)  # once: a generator has nothing the second time
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise TypeError("SentenceEncoder.encode: expected a list of strings")
        if isinstance(batch_size, bool) or not isinstance(batch_size, int):
            raise TypeError(f"SentenceEncoder.encode: batch_size must be an int, got {type(batch_size).__name__}")
        if batch_size < 1:
            raise ValueError(f"SentenceEncoder.encode: batch_size must be at least 1, got {batch_size}")
        rows = [self.read(text) for text in texts]
        if [] in rows:
            raise ValueError(f"SentenceEncoder.encode: text {rows.index([])} has no tokens")
        is_wide = next(iter(self.model.parameters())).dtype == pf.float64
        vectors = np.empty((len(rows), self.width), np.float64 if is_wide else np.float32)
        normalize = self.normalize if normalize is None else normalize
        batches = list(_batches([len(row) for row in rows], batch_size))
        # Packed copies of the weights pay from the second time on that they are read.
        held = _held(self.model) if len(batches) > 1 else nullcontext()
        with nn.inference(), held, bar(progress, total=len(rows), unit="text") as shown:
            for places in batches:
                found = self._vectors([rows[i] for i in places], normalize).to("cpu")
                vectors[places] = found.numpy()
                shown.update(len(places))
        return vectors

    def read(self, text: str) -> list[int]:
        """The ids of a text that the model reads: at most `max_length`, with those of its start and end."""
        start, end = self.tokenizer.template
        text = self.prompt + text
        ids = self.tokenizer.encode(text.lower() if self.lower else text).tolist()
        return [*start, *ids[: self.max_length - len(start) - len(end)], *end]

    def _vectors(self, rows: list[list[int]], normalize: bool) -> pf.Tensor:
        ids, lengths = padded(rows)
        read = self.model.hidden if isinstance(self.model, Decoder) else self.model
        hidden = read(ids, lengths=lengths)
        pooled = self._pooled(hidden, lengths)[:, : self.width]
        if not normalize:
            return pooled
        return pooled / ops.maximum((pooled * pooled).sum(axis=1, keepdims=True).sqrt(), 1e-12)

    def _pooled(self, hidden: pf.Tensor, lengths: np.ndarray) -> pf.Tensor:
        if self.pooling == "cls":
            return hidden[:, 0]
        if self.pooling == "last":
            return hidden[np.arange(len(lengths)), lengths - 1]
        return mean_of_tokens(hidden, lengths)


def padded(rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """(ids int64 (B, T), zeros on the right; lengths int64 (B,)) of rows of different lengths."""
    lengths = np.array([len(row) for row in rows], np.int64)
    ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
    for row, tokens in zip(ids, rows, strict=True):
        row[: len(tokens)] = tokens
    return ids, lengths


def mean_of_tokens(hidden: pf.Tensor, lengths: np.ndarray) -> pf.Tensor:
    """The mean (B, C) of each row's first tokens, lengths (B,), of hidden (B, T, C); the rest may hold anything."""
    counted = within_lengths(hidden, pf.tensor(lengths, device=hidden.device))
    shares = 1.0 / lengths[:, None, None]
    return (counted * pf.tensor(shares, dtype=hidden.dtype, device=hidden.device)).sum(axis=1)


@contextmanager
def _held(model: nn.Module) -> Iterator[None]:
    """Keeps the weights of all linear layers packed meanwhile."""
    held: list[nn.Linear] = []
    try:
        for module in model.modules():
            if isinstance(module, nn.Linear) and module.hold():
                held.append(module)
        yield
    finally:
        for module in held:
            module.release()


def _batches(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """The places of texts of about one length, the longest first, at most so many at once."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i], reverse=True)
    begin = 0
    while begin < len(order):
        longest, end = lengths[order[begin]], begin + 1
        while end < min(begin + most, len(order)) and (
            lengths[order[end]] >= _LEAST_SHARE * longest or (end - begin) * longest < _ENOUGH_TOKENS
        ):
            end += 1
        yield order[begin:end]
        begin = end


def _said(folder: Path) -> tuple[Path, dict[str, Any]]:
    """(where the model lies, arguments of a SentenceEncoder) as the files of `sentence-transformers`, or GGUF, say."""
    if folder.is_file():
        from pyformer.formats.gguf.families import read_pooling

        pooling = read_pooling(formats.folder.gguf_file(folder))
        return folder, {} if pooling is None else {"pooling": pooling}
    said, inner = _prompts(folder), folder
    if (folder / MODULES_NAME).is_file():
        listed = _modules(folder)
        kinds = [str(module.get("type")).rpartition(".")[2] for module in listed]
        for kind, module in zip(kinds, listed, strict=True):
            if kind not in ("Transformer", "Pooling", "Normalize"):
                raise ValueError(
                    f"{folder / MODULES_NAME}: a part of the type {module.get('type')!r} is not known here"
                )
        if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
            raise ValueError(
                f"{folder / MODULES_NAME}: expected Transformer, Pooling and perhaps Normalize, got {', '.join(kinds)}"
            )
        inner = folder / listed[0]["path"]
        has_prompt = bool(said.get("prompt"))
        said |= {"pooling": _pooling(folder / listed[1]["path"] / POOLING_NAME, has_prompt)}
        said["normalize"] = kinds[-1] == "Normalize"
    if (inner / SETTINGS_NAME).is_file():
        settings = formats.read_json(inner / SETTINGS_NAME)
        said |= {"max_length": settings.get("max_seq_length"), "lower": settings.get("do_lower_case", False)}
        _warn_of(inner / SETTINGS_NAME, settings, {"max_seq_length", "do_lower_case"})
    return inner, said


def copy_settings(folder: Path, out: Path) -> None:
    """Copies what a folder says of vectors, in the files of `sentence-transformers`, to another with the same model."""
    files = [MODULES_NAME, PROMPTS_NAME, SETTINGS_NAME]
    if (folder / MODULES_NAME).is_file():
        parts = [str(module.get("path") or "") for module in _modules(folder)]
        files += [f"{part}/{POOLING_NAME}" for part in parts if part == Path(part).name != ""]
    for name in files:
        if (folder / name).is_file():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes((folder / name).read_bytes())


def _prompts(folder: Path) -> dict[str, Any]:
    """What the file beside modules.json says of prompts and of the width."""
    path = folder / PROMPTS_NAME
    if not path.is_file():
        return {}
    values = formats.read_json(path)
    prompts, name = values.get("prompts") or {}, values.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(map(_is_text, prompts.values())):
        raise ValueError(f"{path}: prompts must be texts by name, got {prompts!r}")
    if name is not None and (not isinstance(name, str) or name not in prompts):
        raise ValueError(f"{path}: default_prompt_name must be one of {sorted(prompts)}, got {name!r}")
    others = sorted(other for other in prompts if other != name and prompts[other])
    if others:
        log.warning("%s has prompts that are not put before texts by themselves: %s", path, ", ".join(others))
    _warn_of(path, values, _SILENT_PROMPT_KEYS | {"truncate_dim"})
    said = {"prompt": prompts[name]} if name is not None else {}
    return said if values.get("truncate_dim") is None else {**said, "width": values["truncate_dim"]}


def _warn_of(path: Path, values: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(name for name, value in values.items() if name not in known and value not in (None, False, {}))
    if unknown:
        log.warning("%s has keys that are ignored: %s", path, ", ".join(unknown[:20]))


def _modules(folder: Path) -> list[dict[str, Any]]:
    path = folder / MODULES_NAME
    if path.stat().st_size > formats.atomic.MAX_JSON_BYTES:
        raise ValueError(f"{path}: expected at most {formats.atomic.MAX_JSON_BYTES} bytes of JSON, got more")
    # The file holds a list, which `read_json` takes within an object.
    listed = formats.atomic.parse_object(b'{"modules": ' + path.read_bytes() + b"}", str(path))["modules"]
    if not isinstance(listed, list) or not all(isinstance(module, dict) for module in listed):
        raise ValueError(f"{path}: expected a list of parts")
    for module in listed:
        place = module.setdefault("path", "")
        fits = _is_text(place) and len(place.encode()) < 256 and place != ".."
        if not fits or set(place) & set("/\\\0"):
            raise ValueError(f"{path}: a part's path must be a folder beside it, got {str(place)[:100]!r}")
    return listed


def _is_text(value: Any) -> bool:
    """Whether it is a string that UTF-8 has."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _pooling(path: Path, has_prompt: bool) -> str:
    values = formats.read_json(path)
    modes = {name.removeprefix("pooling_mode_") for name, on in values.items() if on is True}
    modes |= {values["pooling_mode"]} if isinstance(values.get("pooling_mode"), str) else set()
    names = {"mean_tokens": "mean", "cls_token": "cls", "lasttoken": "last"}
    modes = {names.get(mode, mode) for mode in modes}
    modes.discard("include_prompt")
    if len(modes) != 1 or not modes <= set(POOLINGS):
        raise ValueError(f"{path}: pooling must be one of {', '.join(POOLINGS)}, got {', '.join(sorted(modes))}")
    if has_prompt and values.get("include_prompt", True) is not True:
        raise ValueError(f"{path}: include_prompt must be true where there is a default prompt, got false")
    return modes.pop()
