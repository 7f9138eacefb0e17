"""adapter_config.json: what it may say, and where it says that the layers are."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyformer import formats
from pyformer.nn.layers import check_probability

# What `save` writes of a model, and what else a file may say that changes no number here: it is kept.
_WRITTEN = {"peft_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "fan_in_fan_out", "bias", "inference_mode"}
_PLACES = {"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"}
_KEPT = {
    *("auto_mapping", "base_model_name_or_path", "revision", "task_type", "peft_version", "init_lora_weights"),
    *("megatron_core", "loftq_config", "ensure_weight_tying", "qalora_group_size", "runtime_config"),
}
_NOTHING = (None, False, [], {}, "")


def read_settings(path: Path) -> dict[str, Any]:
    """What adapter_config.json says that matters here; ValueError for what isn't known."""
    values = formats.read_json(path)
    if values.get("peft_type") != "LORA":
        raise ValueError(f"{path}: peft_type must be 'LORA', got {values.get('peft_type')!r}")
    if values.get("bias", "none") != "none":
        raise ValueError(f"{path}: bias must be 'none', got {values['bias']!r}")
    known = _WRITTEN | _PLACES | _KEPT
    other = sorted(name for name, value in values.items() if name not in known and value not in _NOTHING)
    if other:
        raise ValueError(f"{path}: settings that are not followed here: {', '.join(other)}")
    if values.get("init_lora_weights", True) not in (True, False, None, "gaussian"):
        said = repr(values["init_lora_weights"])
        raise ValueError(f"{path}: init_lora_weights {said} is not known here; it may change the model's own weights")
    rank, alpha = values.get("r"), values.get("lora_alpha")
    for name, value in (("r", rank), ("lora_alpha", alpha)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise ValueError(f"{path}: {name} must be a number above 0, got {value!r}")
    if rank != int(rank):
        raise ValueError(f"{path}: r must be a whole number, got {rank!r}")
    for name in ("use_rslora", "fan_in_fan_out"):
        if not isinstance(values.get(name), (bool, type(None))):
            raise ValueError(f"{path}: {name} must be a bool, got {values[name]!r}")
    try:
        dropout = check_probability(str(path), "lora_dropout", values.get("lora_dropout", 0.0))
    except TypeError as error:
        raise ValueError(str(error)) from None
    kept = {name: value for name, value in values.items() if name in _KEPT | {"use_rslora"} and value not in _NOTHING}
    said = {"fan_in_fan_out": values["fan_in_fan_out"]} if values.get("fan_in_fan_out") is not None else {}
    return {"r": int(rank), "lora_alpha": alpha, "lora_dropout": dropout, **kept, **_read_places(path, values), **said}


def _read_places(path: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """What the settings say of where the layers are, of the right types."""
    places = {name: values[name] for name in sorted(_PLACES) if values.get(name) not in (None, [])}
    for name, value in places.items():
        kind = int if name == "layers_to_transform" else str
        items = value if isinstance(value, list) else [value]
        if not all(isinstance(item, kind) and not isinstance(item, bool) for item in items):
            raise ValueError(f"{path}: {name} must be {kind.__name__}s, got {value!r}")
    if isinstance(places.get("layers_pattern"), str):
        places["layers_pattern"] = [places["layers_pattern"]]
    return places


def is_named(settings: Mapping[str, Any], stored: str) -> bool:
    """Whether `peft` would put a layer there; what only a pattern decides counts as named."""

    def listed(key: str) -> bool:
        return any(stored == name or stored.endswith(f".{name}") for name in settings.get(key) or ())

    if not isinstance(settings.get("exclude_modules"), str) and listed("exclude_modules"):
        return False
    targets, wanted = settings.get("target_modules"), settings.get("layers_to_transform")
    if targets is None or isinstance(targets, str):
        return True
    if not listed("target_modules"):
        return False
    if wanted is None or wanted == []:
        return True
    patterns = settings.get("layers_pattern") or []
    numbers = [
        int(part)
        for before, part in itertools.pairwise(stored.split(".")[:-1])
        if part.isdecimal() and (not patterns or before in patterns)
    ]
    return bool(numbers) and numbers[-1] in (wanted if isinstance(wanted, list) else [wanted])
