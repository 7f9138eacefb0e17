"""Reads the files of `peft` into a model."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import formats, nn
from pyformer.float_mode import in_default_float_mode
from pyformer.identity import TensorMap
from pyformer.lora.places import are_transposed, linear_layers, stored_name
from pyformer.lora.placing import Adapter, check_model, placed
from pyformer.lora.settings import is_named, read_settings
from pyformer.lora.writer import CONFIG_NAME, PREFIX, WEIGHTS_NAME
from pyformer.models.pretrained import Pretrained
from pyformer.nn.precision import is_float

log = logging.getLogger(__name__)


@in_default_float_mode
def load(model: Pretrained, folder: str | os.PathLike) -> Adapter:
    """Puts the LoRA layers of a folder into a model, as `peft` or `save` has written them.

    The layers are those that the file has tensors for. Where target_modules, exclude_modules or layers_to_transform
    name others, which `peft` would make zeros, a warning (logger "pyformer") names them; tensors that they leave out,
    which `peft` would not read, are an error. A pattern (a string) is not compared. `save` writes these and what else
    the file says, such as base_model_name_or_path, as they were.

    Args:
        model: of the family and sizes that they were learned for.
        folder: with adapter_config.json and adapter_model.safetensors.

    Returns:
        An Adapter; its parameters can be trained on.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, the layers don't fit the model, a setting is not known here, which is named, or
            places that are one weight here have different layers.
        TypeError: the model is not one of `pf.models`.

    Example:
        >>> config = pf.models.LlamaConfig(10, 8, num_layers=1, num_heads=2, embed_dim=8)
        >>> pf.lora.add(pf.models.Llama(config), rank=2).save(folder)
        >>> sorted(pf.lora.load(pf.models.Llama(config), folder).layers)
        ['layers.0.self_attn.q_proj', 'layers.0.self_attn.v_proj']
    """
    check_model(model)
    path = Path(folder) / CONFIG_NAME
    settings = read_settings(path)
    weights = Path(folder) / WEIGHTS_NAME
    tensors, _ = formats.read_safetensors(weights)
    places = {stored_name(model, name): name for name in linear_layers(model)}
    found: dict[str, dict[str, pf.Tensor]] = {}
    for key, tensor in tensors.items():
        match = re.fullmatch(rf"{re.escape(PREFIX)}(.+)\.lora_(A|B)\.weight", key)
        if match is None or match.group(1) not in places:
            raise ValueError(f"{weights}: {key} is of no Linear layer of this {type(model).__name__}")
        found.setdefault(places[match.group(1)], {})[match.group(2)] = tensor
    ranks = {name: _rank(weights, name, parts, linear_layers(model)[name]) for name, parts in found.items()}
    if not ranks or set(ranks.values()) != {settings["r"]}:
        raise ValueError(f"{weights}: expected layers of rank {settings['r']}, got {sorted(set(ranks.values()))}")
    _compare_places(path, settings, places, found)
    _check_twins(weights, model, found)
    transposed = settings.pop("fan_in_fan_out", None)
    if transposed is not None and transposed is not are_transposed(model, found):
        log.warning("%s: fan_in_fan_out is %s, and read as %s, as these layers are", path, transposed, not transposed)
    rank = settings["r"]
    scale = settings["lora_alpha"] / (math.sqrt(rank) if settings.get("use_rslora") else rank)
    adapter = placed(model, ranks, scale, settings)
    for name, parts in found.items():
        for letter, tensor in parts.items():
            getattr(adapter.layers[name], f"lora_{letter}").load_state_dict({"weight": tensor})
    return adapter


def _compare_places(path: Path, settings: Mapping[str, Any], places: Mapping[str, str], found: Collection[str]) -> None:
    """Compares the layers whose tensors there are with those that the settings name."""
    named = {stored for stored in places if is_named(settings, stored)}
    given = {stored for stored, name in places.items() if name in found}
    if given - named:
        which = ", ".join(sorted(given - named)[:5])
        raise ValueError(f"{path}: there are tensors of layers that its settings leave out: {which}")
    has_pattern = any(isinstance(settings.get(key), str) for key in ("target_modules", "exclude_modules"))
    if "target_modules" in settings and not has_pattern and named - given:
        log.warning("%s names layers that it has no tensors for: %s", path, ", ".join(sorted(named - given)[:20]))


def _check_twins(path: Path, model: Pretrained, found: Mapping[str, Mapping[str, pf.Tensor]]) -> None:
    """ValueError if places that are one weight here have different tensors."""
    linears, first = linear_layers(model), TensorMap[str]()
    for name, parts in found.items():
        other = first.setdefault(linears[name].matrix, name)
        same = all(
            np.array_equal(parts[k].to(pf.float64).numpy(), found[other][k].to(pf.float64).numpy()) for k in "AB"
        )
        if not same:
            raise ValueError(f"{path}: {name} and {other} are one weight here, but have different layers")


def _rank(path: Path, name: str, parts: Mapping[str, pf.Tensor], linear: nn.Linear) -> int:
    a, b = parts.get("A"), parts.get("B")
    if a is None or b is None or a.ndim != 2 or a.shape[0] < 1:
        raise ValueError(f"{path}: {name} must have both lora_A and lora_B, matrices")
    if not (is_float(a.dtype) and is_float(b.dtype)):
        raise ValueError(f"{path}: {name} must have floats, got {a.dtype}, {b.dtype}")
    wanted = (a.shape[0], linear.in_features), (linear.out_features, a.shape[0])
    if (tuple(a.shape), tuple(b.shape)) != wanted:
        raise ValueError(
            f"{path}: lora_A and lora_B of {name} must be {wanted}, got {tuple(a.shape)}, {tuple(b.shape)}"
        )
    return int(a.shape[0])
