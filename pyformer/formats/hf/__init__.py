"""Folders of models in Hugging Face's layouts: what their readers have in common."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pyformer as pf
from pyformer import _core, formats, nn

log = logging.getLogger(__name__)

Model = TypeVar("Model", bound=nn.Module)

# Keys of config.json that say nothing about the computation here.
IGNORED_KEYS = {
    *("architectures", "model_type", "torch_dtype", "dtype", "transformers_version", "initializer_range"),
    *("use_cache", "_name_or_path", "gradient_checkpointing", "pretraining_tp", "chunk_size_feed_forward"),
    *("output_attentions", "output_hidden_states", "return_dict", "problem_type", "is_encoder_decoder"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "id2label", "label2id"),
}

HF_ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
OUR_ACTIVATIONS = {"gelu_tanh": "gelu_new", "gelu": "gelu", "relu": "relu", "silu": "silu"}


def read_activation(owner: str, key: str, name: Any) -> str:
    """Our name of an activation in config.json; ValueError, naming the `key`, for one that isn't here."""
    if not isinstance(name, str) or name not in HF_ACTIVATIONS:
        raise ValueError(f"{owner}: {key} must be one of {sorted(HF_ACTIVATIONS)}, got {name!r}")
    return HF_ACTIVATIONS[name]


def check_config(
    owner: str,
    config: Mapping[str, Any],
    *,
    fixed: Mapping[str, Any],
    required: Collection[str],
    known: Collection[str],
) -> None:
    """Raises ValueError if a key of `required` is missing or one of `fixed` has another value; logs unknown ones."""
    for name, value in fixed.items():
        if config.get(name, value) != value:
            raise ValueError(f"{owner}: {name} must be {value!r}, got {config[name]!r}")
    missing = [name for name in required if name not in config]
    if missing:
        raise ValueError(f"{owner}: config.json lacks {', '.join(missing)}")
    unknown = sorted(set(config) - {*fixed, *required, *known} - IGNORED_KEYS)
    if unknown:
        log.warning("config.json has keys that are ignored: %s", ", ".join(unknown[:20]))


def save(
    folder: str | os.PathLike, config: Mapping[str, Any], model: nn.Module, file_name: Callable[[str], str]
) -> None:
    """Writes config.json, with the dtype of the weights, and model.safetensors; `file_name` renames parameters."""
    state = model.state_dict()
    dtype = next(iter(state.values())).dtype
    name = next(n for n in ("float32", "float64", "bfloat16", "float16") if dtype == getattr(pf, n))
    formats.save_model(folder, {**config, "torch_dtype": name}, {file_name(n): t for n, t in state.items()})


def encoder_name(name: str, parts: Mapping[str, str], layer_parts: Mapping[str, str]) -> str:
    """The name that `transformers`' encoders give to a parameter of ours: `parts` are beginnings and what stands for
    them there, `layer_parts` the same after `layers.N.`, which becomes `encoder.layer.N.`."""
    layer = re.match(r"layers\.(\d+)\.", name)
    rest = name[layer.end() :] if layer else name
    for ours, theirs in (layer_parts if layer else parts).items():
        if rest.startswith(ours):
            return (f"encoder.layer.{layer.group(1)}." if layer else "") + theirs + rest[len(ours) :]
    return name


class Weights:
    """What a model's file holds, by names without `prefix`, checked before memory is taken for it.

    Raises:
        FileNotFoundError: model.safetensors is missing.
        ValueError: it is damaged.
    """

    def __init__(self, folder: str | os.PathLike, prefix: str = "") -> None:
        self.path = Path(folder) / formats.WEIGHTS_NAME
        if not self.path.is_file():
            raise FileNotFoundError(f"{folder}: no {formats.WEIGHTS_NAME} here")
        entries, _ = formats.read_header(self.path)
        self.entries = {name.removeprefix(prefix): entry for name, entry in entries.items()}
        if len(self.entries) != len(entries):
            raise ValueError(f"{self.path}: names with and without the prefix {prefix!r} repeat")

    def require(self, layers: int, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """ValueError unless there may be so many layers, and these tensors: a model of this size is in the file."""
        if layers > len(self.entries):
            raise ValueError(f"{self.path}: config.json means {layers} layers, got {len(self.entries)} tensors")
        for name, shape in shapes.items():
            if name not in self.entries:
                raise ValueError(f"{self.path}: missing tensor {name}")
            if self.entries[name].shape != shape:
                raise ValueError(f"{self.path}: {name} must be {shape}, got {self.entries[name].shape}")

    def fill(self, model: Model, file_name: Callable[[str], str], redundant: str, dtype: Any = None) -> Model:
        """`model` with the file's values, in evaluation mode.

        Tensors that match `redundant` are left out. `dtype` defaults to float64 for a float64 file, else float32.
        ValueError or TypeError if the tensors are not exactly those of the model.
        """
        names = {name: file_name(name) for name, _ in model.named_parameters()}
        wanted = set(names.values())
        extra = [n for n in self.entries if n not in wanted and not re.fullmatch(redundant, n)]
        missing = [n for n in names.values() if n not in self.entries]
        if missing or extra:
            raise ValueError(f"{self.path}: missing tensors {missing[:5]}, unexpected {extra[:5]}")
        self.require(0, {names[own]: tuple(parameter.shape) for own, parameter in model.named_parameters()})
        kinds = {self.entries[name].dtype for name in wanted}
        if not kinds <= {"F64", "F32", "F16", "BF16"}:
            raise TypeError(f"{self.path}: tensors must be of a float dtype, got {sorted(kinds)}")
        model.to(dtype or (pf.float64 if "F64" in kinds else pf.float32))
        with pf.no_grad(), open(self.path, "rb") as file:
            for name, parameter in model.named_parameters():
                value = formats.read_tensor(file, self.entries[names[name]])
                _core.copy_([parameter], [value.to(parameter.dtype)])
        model.eval()
        return model
