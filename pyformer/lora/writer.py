"""Writes the files of `peft`."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from pyformer import formats
from pyformer.lora.places import are_transposed, learned_layers, parts_of_one, stored_name
from pyformer.models.pretrained import Pretrained

log = logging.getLogger(__name__)

CONFIG_NAME, WEIGHTS_NAME = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."


def save(model: Pretrained, folder: str | os.PathLike) -> None:
    """Writes the LoRA layers of a model in the layout of `peft`: adapter_config.json, adapter_model.safetensors.

    Layers that are parts of one matrix in the files of `transformers`, such as the projections of queries, keys and
    values of ModernBERT and Phi 3, are written under names of their own. `load` reads them and `peft` does not, which a
    warning says; `merge` and `save_pretrained` write what both read.

    Args:
        model: with LoRA layers.
        folder: a path, made if need be.

    Raises:
        ValueError: the model has none.
        TypeError: the model is not one of `pf.models`.
        OSError: the folder can't be written.

    Example:
        >>> model = pf.models.Llama(pf.models.LlamaConfig(10, 8, num_layers=1, num_heads=2, embed_dim=8))
        >>> pf.lora.add(model, rank=2).save(folder)
        >>> sorted(path.name for path in folder.iterdir())
        ['adapter_config.json', 'adapter_model.safetensors']
    """
    layers = learned_layers(model, "save")
    tensors = {
        f"{PREFIX}{stored_name(model, name)}.{part}.weight": getattr(layer, part).weight
        for name, layer in layers.items()
        for part in ("lora_A", "lora_B")
    }
    parts = parts_of_one(model, layers)
    if parts:
        log.warning(
            "%s: peft can't read the layers of %s, which are parts of one matrix there; pyformer.lora.load does",
            folder,
            ", ".join(sorted({name.rpartition(".")[2] for name in parts})),
        )
    settings: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": None,
        "inference_mode": True,
        **model.lora_settings,
        "fan_in_fan_out": are_transposed(model, layers),
        "bias": "none",
        "modules_to_save": None,
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with formats.atomic_files(folder / CONFIG_NAME, folder / WEIGHTS_NAME) as (config, weights):
        config.write((json.dumps(settings, indent=2) + "\n").encode())
        formats.write_safetensors(weights, tensors, {"format": "pt"})
