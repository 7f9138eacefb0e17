"""Adds what LoRA layers have learned to the weights beside them."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import pyformer as pf
from pyformer import nn
from pyformer.identity import TensorMap
from pyformer.lora.layer import LoRALinear, dequantize
from pyformer.lora.places import learned_layers, put
from pyformer.models.pretrained import Pretrained
from pyformer.nn.module import PARAMETER

log = logging.getLogger(__name__)


def merge(model: Pretrained) -> Pretrained:
    """Adds what LoRA layers have learned to the weights that they stand beside, and takes them away.

    A weight that stands at several places stays one where all of them have one A and B. Where they differ, or where a
    place has none, the places part: each gets a weight of its own, and a warning (logger "pyformer") names them.

    Args:
        model: with LoRA layers.

    Returns:
        The model, all of whose parameters require gradients again.

    Raises:
        ValueError: it has none.
        TypeError: the model is not one of `pf.models`.

    Example:
        >>> model = pf.models.Llama(pf.models.LlamaConfig(10, 8, num_layers=1, num_heads=2, embed_dim=8))
        >>> adapter = pf.lora.add(model, rank=2)
        >>> type(pf.lora.merge(model).layers[0].self_attn.q_proj).__name__
        'Linear'
    """
    layers = learned_layers(model, "merge")
    dequantize(layers.values())
    model.requires_grad_(True)
    users = _users(model)
    merged: dict[LoRALinear, nn.Linear] = {}
    added: list[tuple[LoRALinear, pf.Tensor]] = []
    for name, layer in layers.items():
        if layer not in merged:
            weight = next((w for other, w in added if layer._learns_with(other)), None)
            if weight is None:
                weight = _to_add_to(name, layer, layers, users[layer.weight])
                layer._add_to(weight)
                added.append((layer, weight))
            merged[layer] = layer._plain(weight)
    for name, layer in layers.items():
        put(model, name, merged[layer])
    object.__delattr__(model, "lora_settings")
    return model


def _users(model: Pretrained) -> TensorMap[list[str]]:
    """The names of each parameter."""
    users: TensorMap[list[str]] = TensorMap()
    for path, module in model.named_modules():
        for name, tensor in module._own(PARAMETER):
            users.setdefault(tensor, []).append(f"{path}.{name}".lstrip("."))
    return users


def _to_add_to(name: str, layer: LoRALinear, layers: Mapping[str, LoRALinear], users: list[str]) -> pf.Tensor:
    """The layer's weight, or a copy if it also stands where something else is added, or nothing."""
    alike = {f"{other}.weight" for other, twin in layers.items() if twin._learns_with(layer)}
    rest = sorted(set(users) - alike)
    if not rest:
        return layer.weight
    log.warning("lora.merge: %s.weight is no longer one with %s, to which other numbers belong", name, ", ".join(rest))
    return nn.Parameter(layer.weight)
