"""LoRA: a model's weights stay as they are, and beside some of them two thin matrices learn what to add.

Hu et al. 2021, "LoRA: Low-rank adaptation of large language models". Files are those of the library `peft`.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pyformer as pf
from pyformer import formats, nn, ops
from pyformer.models.pretrained import Pretrained
from pyformer.nn.layers import check_probability, check_sizes

__all__ = ["Adapter", "LoRALinear", "add", "load", "merge", "save"]

CONFIG_NAME, WEIGHTS_NAME = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_ACTIVATIONS = {
    "gelu": ops.gelu,
    "gelu_tanh": lambda x: ops.gelu(x, approximate="tanh"),
    "relu": ops.relu,
    "silu": ops.silu,
    "tanh": ops.tanh,
    "sigmoid": ops.sigmoid,
}
# What a file may say that changes no number here, and what must have the value that means nothing.
_SILENT = {
    *("peft_type", "r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora", "bias", "peft_version"),
    *("auto_mapping", "base_model_name_or_path", "revision", "inference_mode", "task_type", "init_lora_weights"),
    *("fan_in_fan_out", "layers_pattern", "layers_to_transform", "megatron_core", "loftq_config", "exclude_modules"),
    *("ensure_weight_tying", "qalora_group_size", "runtime_config", "trainable_token_indices"),
}
_NOTHING = (None, False, [], {}, "")


class LoRALinear(nn.Linear):
    """activation(x W^T + b + scale * B A dropout(x)) + residual: a Linear whose W and b stay and whose A and B learn.

    Args:
        linear: the Linear whose weight and bias it takes over; they are shared, not copied.
        rank: the width between A and B.
        scale: of what they add.
        dropout: probability, on what A sees.

    Attributes:
        lora_A, lora_B: Linear layers without biases, in -> rank and rank -> out; B is zeros at first.

    Raises:
        TypeError: linear is no Linear, or a number of the wrong type.
        ValueError: rank is below 1, or dropout no probability.

    Example:
        >>> layer = pf.nn.Linear(4, 3)
        >>> adapted = pf.lora.LoRALinear(layer, rank=2, scale=1.0)
        >>> x = pf.ones(1, 4)
        >>> (adapted(x) == layer(x)).numpy().all().item(), adapted.lora_A.weight.shape
        (True, (2, 4))
    """

    def __init__(self, linear: nn.Linear, rank: int, scale: float, dropout: float = 0.0) -> None:
        if type(linear) is not nn.Linear:
            raise TypeError(f"lora: expected a Linear, got {type(linear).__name__}")
        check_sizes("lora", rank=rank)
        dropout = check_probability("lora", "dropout", dropout)
        with nn.init.outlines():
            super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None)
        self.weight, self.bias, self.quantized = linear.weight, linear.bias, linear.quantized
        self.scale = float(scale)
        self.lora_A = nn.Linear(self.in_features, rank, bias=False)
        self.lora_B = nn.Linear(rank, self.out_features, bias=False)
        nn.init.zeros_(self.lora_B.weight)
        self.dropout = nn.Dropout(dropout)
        if linear.dtype == pf.float64:
            self.lora_A.to(pf.float64), self.lora_B.to(pf.float64)
        for part in (self.lora_A, self.lora_B):
            part.to(linear.device)

    def forward(
        self,
        x: pf.Tensor,
        activation: str | None = None,
        residual: pf.Tensor | None = None,
        norm: Any = None,
    ) -> pf.Tensor:
        """As `Linear.forward`, with what A and B add before the activation."""
        x = x if norm is None else norm(x)
        y = super().forward(x)
        y = self.lora_B(self.lora_A(self.dropout(x)) * self.scale, residual=y)
        y = y if activation is None else _ACTIVATIONS[activation](y)
        return y if residual is None else y + residual

    def merged(self) -> nn.Linear:
        """A Linear of the same weight memory, to which scale * B A is added; of float32 if that was quantised."""
        if self.quantized is not None:
            self.weight, self.quantized = nn.Parameter(self.quantized.dequantize()), None
        with pf.no_grad():
            added = ops.matmul(self.lora_B.weight.detach(), self.lora_A.weight.detach()) * self.scale
            whole = self.weight.detach()
            whole[:] = (whole.to(added.dtype) + added).to(whole.dtype)
        with nn.init.outlines():
            plain = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None)
        plain.weight, plain.bias = self.weight, self.bias
        return plain.train(self.training)


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
        return [p for layer in self.layers.values() for part in (layer.lora_A, layer.lora_B) for p in part.parameters()]

    def save(self, folder: str | os.PathLike) -> None:
        """`pf.lora.save` of this adapter's model."""
        save(self.model, folder)


def add(
    model: Pretrained,
    rank: int = 8,
    alpha: float = 16,
    targets: Collection[str] = ("q_proj", "v_proj"),
    dropout: float = 0.0,
) -> Adapter:
    """Puts LoRA layers into a model; all other parameters are frozen, and the result stays what it was at first.

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
        TypeError: the model is none of `pf.models`, or a number of the wrong type.

    Source: Hu et al. 2021, "LoRA".

    Example:
        >>> model = pf.models.Llama(pf.models.LlamaConfig(10, 8, num_layers=1, num_heads=2, embed_dim=8))
        >>> adapter = pf.lora.add(model, rank=2, targets=("q_proj", "k_proj"))
        >>> sum(p.size for p in model.parameters() if p.requires_grad)
        64
    """
    _check_model(model)
    check_sizes("lora.add", rank=rank)
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)):
        raise TypeError(f"lora.add: alpha must be a number, got {type(alpha).__name__}")
    if not 0 < alpha < math.inf:
        raise ValueError(f"lora.add: alpha must be above 0 and finite, got {alpha}")
    wanted = {targets} if isinstance(targets, str) else set(targets)
    places = [name for name, module in _linears(model).items() if name.rpartition(".")[2] in wanted]
    missing = sorted(wanted - {name.rpartition(".")[2] for name in places})
    if missing or not places:
        known = sorted({name.rpartition(".")[2] for name in _linears(model)})
        raise ValueError(f"lora.add: targets must be among {', '.join(known)}, got {', '.join(missing) or 'none'}")
    settings = {"r": rank, "lora_alpha": alpha, "lora_dropout": check_probability("lora.add", "dropout", dropout)}
    return _placed(model, dict.fromkeys(places, rank), alpha / rank, settings)


def _check_model(model: Any) -> None:
    if not isinstance(model, Pretrained):
        raise TypeError(f"lora: expected a model of pf.models, got {type(model).__name__}")
    if _layers(model):
        raise ValueError("lora: the model has LoRA layers already: pf.lora.merge(model) first")


def _linears(model: Pretrained) -> dict[str, nn.Linear]:
    return {name: module for name, module in model.named_modules() if type(module) is nn.Linear}


def _layers(model: Pretrained) -> dict[str, LoRALinear]:
    return {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}


def _placed(model: Pretrained, ranks: Mapping[str, int], scale: float, settings: dict[str, Any]) -> Adapter:
    """Puts a layer of its rank at each place, and freezes the rest."""
    model.requires_grad_(True)  # what is frozen registers as no parameter
    linears = _linears(model)
    layers = {name: LoRALinear(linears[name], rank, scale, settings["lora_dropout"]) for name, rank in ranks.items()}
    for name, layer in layers.items():
        _put(model, name, layer.train(linears[name].training))
    model.requires_grad_(False)
    adapter = Adapter(model, layers, settings)
    for parameter in adapter.parameters():
        parameter.requires_grad = True
    object.__setattr__(model, "lora_settings", settings)
    return adapter


def _put(model: Pretrained, name: str, module: nn.Module) -> None:
    path, _, last = name.rpartition(".")
    parent = dict(model.named_modules())[path]
    if isinstance(parent, (nn.ModuleList, nn.Sequential)) and last.isdigit():
        parent[int(last)] = module
    else:
        setattr(parent, last, module)


def merge(model: Pretrained) -> Pretrained:
    """Adds what LoRA layers have learned to the weights that they stand beside, and takes them away.

    Args:
        model: with LoRA layers.

    Returns:
        The model, all of whose parameters require gradients again.

    Raises:
        ValueError: it has none.
        TypeError: the model is none of `pf.models`.

    Example:
        >>> model = pf.models.Llama(pf.models.LlamaConfig(10, 8, num_layers=1, num_heads=2, embed_dim=8))
        >>> adapter = pf.lora.add(model, rank=2)
        >>> type(pf.lora.merge(model).layers[0].self_attn.q_proj).__name__
        'Linear'
    """
    layers = _layers_of(model, "merge")
    model.requires_grad_(True)
    for name, layer in layers.items():
        _put(model, name, layer.merged())
    object.__delattr__(model, "lora_settings")
    return model


def _layers_of(model: Any, owner: str) -> dict[str, LoRALinear]:
    if not isinstance(model, Pretrained):
        raise TypeError(f"lora.{owner}: expected a model of pf.models, got {type(model).__name__}")
    layers = _layers(model)
    if not layers:
        raise ValueError(f"lora.{owner}: the model has no LoRA layers")
    return layers


def save(model: Pretrained, folder: str | os.PathLike) -> None:
    """Writes the LoRA layers of a model in the layout of `peft`: adapter_config.json, adapter_model.safetensors.

    Args:
        model: with LoRA layers.
        folder: a path, made if need be.

    Raises:
        ValueError: the model has none.
        TypeError: the model is none of `pf.models`.
        OSError: the folder can't be written.

    Example:
        >>> model = pf.models.Llama(pf.models.LlamaConfig(10, 8, num_layers=1, num_heads=2, embed_dim=8))
        >>> pf.lora.add(model, rank=2).save(folder)
        >>> sorted(path.name for path in folder.iterdir())
        ['adapter_config.json', 'adapter_model.safetensors']
    """
    layers = _layers_of(model, "save")
    theirs = {name: _stored(model, name) for name in _linears(model) | layers}
    tensors = {
        f"{_PREFIX}{theirs[name]}.{part}.weight": getattr(layer, part).weight
        for name, layer in layers.items()
        for part in ("lora_A", "lora_B")
    }
    settings: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": None,
        "inference_mode": True,
        **model.lora_settings,
        "target_modules": _targets(theirs, layers),
        "fan_in_fan_out": any(model.layout.is_transposed(f"{name}.weight") for name in layers),
        "bias": "none",
        "modules_to_save": None,
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with formats.atomic_files(folder / CONFIG_NAME, folder / WEIGHTS_NAME) as (config, weights):
        config.write((json.dumps(settings, indent=2) + "\n").encode())
        formats.write_safetensors(weights, tensors, {"format": "pt"})


def _stored(model: Pretrained, name: str) -> str:
    """The name that `transformers` has for a module of ours."""
    return model.layout.written_name(f"{name}.weight").removesuffix(".weight")


def _targets(theirs: Mapping[str, str], layers: Collection[str]) -> list[str]:
    """Last names of their modules, where all of such a name are meant, else whole names."""
    last = {theirs[name].rpartition(".")[2] for name in layers}
    if all(name in layers for name, stored in theirs.items() if stored.rpartition(".")[2] in last):
        return sorted(last)
    return sorted(theirs[name] for name in layers)


def load(model: Pretrained, folder: str | os.PathLike) -> Adapter:
    """Puts the LoRA layers of a folder into a model, as `peft` or `save` has written them.

    Args:
        model: of the family and sizes that they were learned for.
        folder: with adapter_config.json and adapter_model.safetensors.

    Returns:
        An Adapter; its parameters can be trained on.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, the layers don't fit the model, or a setting is not known here, which is named.
        TypeError: the model is none of `pf.models`.

    Example:
        >>> config = pf.models.LlamaConfig(10, 8, num_layers=1, num_heads=2, embed_dim=8)
        >>> pf.lora.add(pf.models.Llama(config), rank=2).save(folder)
        >>> sorted(pf.lora.load(pf.models.Llama(config), folder).layers)
        ['layers.0.self_attn.q_proj', 'layers.0.self_attn.v_proj']
    """
    _check_model(model)
    path = Path(folder) / CONFIG_NAME
    settings = _read_settings(path)
    weights = Path(folder) / WEIGHTS_NAME
    tensors, _ = formats.read_safetensors(weights)
    places = {_stored(model, name): name for name in _linears(model)}
    found: dict[str, dict[str, pf.Tensor]] = {}
    for key, tensor in tensors.items():
        match = re.fullmatch(rf"{re.escape(_PREFIX)}(.+)\.lora_(A|B)\.weight", key)
        if match is None or match.group(1) not in places:
            raise ValueError(f"{weights}: {key} is of no Linear layer of this {type(model).__name__}")
        found.setdefault(places[match.group(1)], {})[match.group(2)] = tensor
    ranks = {name: _rank(weights, name, parts, _linears(model)[name]) for name, parts in found.items()}
    if not ranks or set(ranks.values()) != {settings["r"]}:
        raise ValueError(f"{weights}: expected layers of rank {settings['r']}, got {sorted(set(ranks.values()))}")
    rank = settings["r"]
    scale = settings["lora_alpha"] / (math.sqrt(rank) if settings.get("use_rslora") else rank)
    adapter = _placed(model, ranks, scale, settings)
    for name, parts in found.items():
        for letter, tensor in parts.items():
            getattr(adapter.layers[name], f"lora_{letter}").load_state_dict({"weight": tensor})
    return adapter


def _rank(path: Path, name: str, parts: Mapping[str, pf.Tensor], linear: nn.Linear) -> int:
    a, b = parts.get("A"), parts.get("B")
    if a is None or b is None or a.ndim != 2 or a.shape[0] < 1:
        raise ValueError(f"{path}: {name} must have both lora_A and lora_B, matrices")
    wanted = (a.shape[0], linear.in_features), (linear.out_features, a.shape[0])
    if (tuple(a.shape), tuple(b.shape)) != wanted:
        raise ValueError(
            f"{path}: lora_A and lora_B of {name} must be {wanted}, got {tuple(a.shape)}, {tuple(b.shape)}"
        )
    return int(a.shape[0])


def _read_settings(path: Path) -> dict[str, Any]:
    """What adapter_config.json says that matters here; ValueError for what isn't known."""
    values = formats.read_json(path)
    if values.get("peft_type") != "LORA":
        raise ValueError(f"{path}: peft_type must be 'LORA', got {values.get('peft_type')!r}")
    if values.get("bias", "none") != "none":
        raise ValueError(f"{path}: bias must be 'none', got {values['bias']!r}")
    other = sorted(name for name, value in values.items() if name not in _SILENT and value not in _NOTHING)
    if other:
        raise ValueError(f"{path}: settings that are not followed here: {', '.join(other)}")
    if values.get("init_lora_weights", True) not in (True, False, None, "gaussian"):
        raise ValueError(f"{path}: init_lora_weights {values['init_lora_weights']!r} changes the model's own weights")
    rank, alpha = values.get("r"), values.get("lora_alpha")
    for name, value in (("r", rank), ("lora_alpha", alpha)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise ValueError(f"{path}: {name} must be a number above 0, got {value!r}")
    try:
        dropout = check_probability(str(path), "lora_dropout", values.get("lora_dropout", 0.0))
    except TypeError as error:
        raise ValueError(str(error)) from None
    rslora = {"use_rslora": True} if values.get("use_rslora") is True else {}
    return {"r": rank, "lora_alpha": alpha, "lora_dropout": dropout, **rslora}
