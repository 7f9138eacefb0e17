"""Where in a model the layers are, in this library's names and in those of `transformers`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pyformer import nn
from pyformer.lora.layer import LoRALinear
from pyformer.models.pretrained import Pretrained


def linear_layers(model: Pretrained) -> dict[str, nn.Linear]:
    return {name: module for name, module in model.named_modules() if type(module) is nn.Linear}


def lora_layers(model: Pretrained) -> dict[str, LoRALinear]:
    return {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}


def learned_layers(model: Any, owner: str) -> dict[str, LoRALinear]:
    if not isinstance(model, Pretrained):
        raise TypeError(f"lora.{owner}: expected a model of pf.models, got {type(model).__name__}")
    layers = lora_layers(model)
    if not layers:
        raise ValueError(f"lora.{owner}: the model has no LoRA layers")
    return layers


def put(model: Pretrained, name: str, module: nn.Module) -> None:
    path, _, last = name.rpartition(".")
    setattr(dict(model.named_modules())[path], last, module)


def stored_name(model: Pretrained, name: str) -> str:
    """The name that `transformers` has for a module of ours. One of several that its files hold row upon row in one
    matrix keeps a name of its own, which `transformers` does not have: each has an adapter of its own."""
    layout = model.layout
    stored = layout.stored_name(f"{name}.weight").removesuffix(".weight")
    return stored if stored.startswith(layout.bare) else layout.prefix + stored


def parts_of_one(model: Pretrained, layers: Collection[str]) -> list[str]:
    """Those of the layers that are parts of one matrix in the files of `transformers`."""
    return [name for name in layers if model.layout.stacked_name(f"{name}.weight") is not None]


def are_transposed(model: Pretrained, layers: Collection[str]) -> bool:
    """Whether `transformers` keeps one of these layers' weights as (in, out)."""
    return any(model.layout.is_transposed(f"{name}.weight") for name in layers)
