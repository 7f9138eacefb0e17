"""Puts LoRA layers into a model."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping
from typing import Any

import pyformer as pf
from pyformer import nn
from pyformer.float_mode import in_default_float_mode
from pyformer.identity import TensorMap, distinct
from pyformer.lora.layer import LoRALinear
from pyformer.lora.places import linear_layers, lora_layers, put, stored_name
from pyformer.lora.writer import save
from pyformer.models.pretrained import Pretrained
from pyformer.nn.layers import check_probability, check_sizes


class Adapter:
    """What `add` and `load` give: the LoRA layers of a model.

    Attributes:
        layers: LoRALinear by the name of its place in the model.
        settings: what adapter_config.json says of it.

    Raises:
        ValueError: later, the model's family has no files that `peft` reads.

    Example:
        >>> model = pf.models.Llama(pf.models.LlamaConfig(10, 8, num_layers=1, num_heads=2, embed_dim=8))
        >>> adapter = pf.lora.add(model, rank=2)
        >>> sorted(adapter.layers)
        ['layers.0.self_attn.q_proj', 'layers.0.self_attn.v_proj']
    """

    def __init__(self, model: Pretrained, layers: dict[str, LoRALinear], settings: dict[str, Any]) -> None:
        self.model, self.layers, self.settings = model, layers, settings

    def parameters(self) -> list[pf.Tensor]:
        """What is trained: A and B of each layer."""
        return distinct(part.weight for layer in self.layers.values() for part in layer._parts())

    def save(self, folder: str | os.PathLike) -> None:
        """`pf.lora.save` of this adapter's model."""
        save(self.model, folder)


@in_default_float_mode
def add(
    model: Pretrained,
    rank: int = 8,
    alpha: float = 16,
    targets: Collection[str] = ("q_proj", "v_proj"),
    dropout: float = 0.0,
) -> Adapter:
    """Puts LoRA layers into a model; all other parameters are frozen, and the result stays what it was at first.

    A weight that stands at several of the places has one A and B there, and stays one weight. Modes and hooks of the
    layers stay, too.

    Args:
        model: a model of `pf.models`.
        rank: the width of what is learned.
        alpha: what A and B give is multiplied by alpha / rank.
        targets: the last names of the Linear layers, in this library's names, that get one.
        dropout: probability, on what A sees in training.

    Returns:
        An Adapter; `adapter.parameters()` are what an optimiser needs, `adapter.save(folder)` writes them.

    Raises:
        ValueError: no layer has such a name, or the model has LoRA layers already; a number is out of range.
        TypeError: the model is not one of `pf.models`, or a number of the wrong type.

    Source: Hu et al. 2021, "LoRA".

    Example:
        >>> model = pf.models.Llama(pf.models.LlamaConfig(10, 8, num_layers=1, num_heads=2, embed_dim=8))
        >>> adapter = pf.lora.add(model, rank=2, targets=("q_proj", "k_proj"))
        >>> sum(p.size for p in model.parameters() if p.requires_grad)
        64
    """
    check_model(model)
    check_sizes("lora.add", rank=rank)
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)):
        raise TypeError(f"lora.add: alpha must be a number, got {type(alpha).__name__}")
    if not 0 < alpha <= sys.float_info.max:
        raise ValueError(f"lora.add: alpha must be above 0 and finite, got {alpha}")
    wanted = {targets} if isinstance(targets, str) else set(targets)
    places = [name for name, module in linear_layers(model).items() if name.rpartition(".")[2] in wanted]
    missing = sorted(wanted - {name.rpartition(".")[2] for name in places})
    if missing or not places:
        known = sorted({name.rpartition(".")[2] for name in linear_layers(model)})
        raise ValueError(f"lora.add: targets must be among {', '.join(known)}, got {', '.join(missing) or 'none'}")
    settings = {"r": rank, "lora_alpha": alpha, "lora_dropout": check_probability("lora.add", "dropout", dropout)}
    return placed(model, dict.fromkeys(places, rank), alpha / rank, settings)


def check_model(model: Any) -> None:
    if not isinstance(model, Pretrained):
        raise TypeError(f"lora: expected a model of pf.models, got {type(model).__name__}")
    if lora_layers(model):
        raise ValueError("lora: the model has LoRA layers already: pf.lora.merge(model) first")


def placed(model: Pretrained, ranks: Mapping[str, int], scale: float, settings: dict[str, Any]) -> Adapter:
    """Puts a layer of its rank at each place, and freezes the rest; all or none are put."""
    trained = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.requires_grad_(True)  # what is frozen registers as no parameter
    try:
        layers = _layers(linear_layers(model), ranks, scale, settings["lora_dropout"])
    except BaseException:
        for parameter, was in trained:
            parameter.requires_grad = was
        raise
    for name, layer in layers.items():
        put(model, name, layer)
    model.requires_grad_(False)
    adapter = Adapter(model, layers, settings)
    for parameter in adapter.parameters():
        parameter.requires_grad = True
    theirs = {name: stored_name(model, name) for name in linear_layers(model) | layers}
    settings.setdefault("target_modules", _targets(theirs, layers))
    object.__setattr__(model, "lora_settings", settings)
    return adapter


def _layers(
    linears: Mapping[str, nn.Linear], ranks: Mapping[str, int], scale: float, dropout: float
) -> dict[str, LoRALinear]:
    made: dict[nn.Linear, LoRALinear] = {}
    first: TensorMap[LoRALinear] = TensorMap()
    for name, rank in ranks.items():
        linear = linears[name]
        if linear not in made:
            layer = LoRALinear(linear, rank, scale, dropout)
            twin = first.setdefault(linear.matrix, layer)
            layer.lora_A, layer.lora_B = twin._parts()
            made[linear] = layer.train(linear.training)
    return {name: made[linears[name]] for name in ranks}


def _targets(theirs: Mapping[str, str], layers: Collection[str]) -> list[str]:
    """Last names of their modules, where all of such a name are meant, else whole names."""
    last = {theirs[name].rpartition(".")[2] for name in layers}
    if all(name in layers for name, stored in theirs.items() if stored.rpartition(".")[2] in last):
        return sorted(last)
    return sorted(theirs[name] for name in layers)
