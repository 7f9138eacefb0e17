"""LoRA: a model's weights stay as they are, and beside some of them two thin matrices learn what to add.

Hu et al. 2021, "LoRA: Low-rank adaptation of large language models". Files are those of the library `peft`.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import formats, nn, ops
from pyformer.float_mode import in_default_float_mode
from pyformer.identity import TensorMap, distinct, is_same
from pyformer.models.pretrained import Pretrained
from pyformer.nn.layers import check_probability, check_sizes
from pyformer.nn.module import PARAMETER, activation_dtype

log = logging.getLogger(__name__)

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
# What `save` writes of a model, and what else a file may say that changes no number here: it is kept.
_WRITTEN = {"peft_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "fan_in_fan_out", "bias", "inference_mode"}
_PLACES = {"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"}
_KEPT = {
    *("auto_mapping", "base_model_name_or_path", "revision", "task_type", "peft_version", "init_lora_weights"),
    *("megatron_core", "loftq_config", "ensure_weight_tying", "qalora_group_size", "runtime_config"),
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
        lora_A, lora_B: Linear layers without biases, in -> rank and rank -> out; B is zeros at first. They are float64
            beside a float64 weight and float32 beside any other, so that small steps are not rounded away; what they
            add to a float16 layer is rounded to float16.

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
        _take_over(self, linear)

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
        low = self.lora_A(_as(self.dropout(x), activation_dtype(self.lora_A.weight))) * self.scale
        y = _as(self.lora_B(low, residual=_as(y, low.dtype)), y.dtype)
        y = y if activation is None else _ACTIVATIONS[activation](y)
        return y if residual is None else y + residual

    def merged(self) -> nn.Linear:
        """A Linear of the same weight memory, to which scale * B A is added; of float32 if that was quantised."""
        _dequantize([self])
        self._add_to(self.weight)
        return self._plain(self.weight)

    def _add_to(self, weight: pf.Tensor) -> None:
        with pf.no_grad():
            added = ops.matmul(self.lora_B.weight.detach(), self.lora_A.weight.detach()) * self.scale
            whole = weight.detach()
            whole[:] = (whole.to(added.dtype) + added).to(whole.dtype)

    def _plain(self, weight: pf.Tensor) -> nn.Linear:
        with nn.init.outlines():
            plain = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None)
        plain.weight, plain.bias = weight, self.bias
        _take_over(plain, self)
        return plain.train(self.training)

    def _learns_with(self, other: LoRALinear) -> bool:
        """Whether both add the same to one weight."""
        mine, theirs = (self, *self._parts()), (other, *other._parts())
        return self.scale == other.scale and all(is_same(a.weight, b.weight) for a, b in zip(mine, theirs, strict=True))

    def _parts(self) -> tuple[nn.Linear, nn.Linear]:
        return self.lora_A, self.lora_B


def _matrix(linear: nn.Linear) -> Any:
    """What two layers share where they are one: the weight, or the quantised matrix in its place."""
    return linear.weight if linear.quantized is None else linear.quantized


def _dequantize(layers: Iterable[LoRALinear]) -> None:
    """Makes float32 weights of quantised matrices; layers of one matrix have one weight then."""
    weights: dict[Any, pf.Tensor] = {}
    for layer in layers:
        quantized = layer.quantized
        if quantized is not None:
            if quantized not in weights:
                weights[quantized] = nn.Parameter(quantized.dequantize())
            layer.weight, layer.quantized = weights[quantized], None


def _as(x: pf.Tensor, dtype: pf.DType) -> pf.Tensor:
    return x if x.dtype == dtype else x.to(dtype)


def _take_over(new: nn.Linear, old: nn.Linear) -> None:
    """Gives `new`, which takes old's place, what users have put there: hooks, buffers and other attributes."""
    own = {*vars(new), "scale", "lora_A", "lora_B", "dropout"}
    for name, value in old.__getstate__().items():
        if name not in own:
            new.__dict__[name] = value
            if name in old._kinds:
                new._kinds[name] = old._kinds[name]


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
    made: dict[nn.Linear, LoRALinear] = {}
    first: TensorMap[LoRALinear] = TensorMap()
    for name, rank in ranks.items():
        linear = linears[name]
        if linear not in made:
            layer = LoRALinear(linear, rank, scale, settings["lora_dropout"])
            twin = first.setdefault(_matrix(linear), layer)
            layer.lora_A, layer.lora_B = twin._parts()
            made[linear] = layer.train(linear.training)
    layers = {name: made[linears[name]] for name in ranks}
    for name, layer in layers.items():
        _put(model, name, layer)
    model.requires_grad_(False)
    adapter = Adapter(model, layers, settings)
    for parameter in adapter.parameters():
        parameter.requires_grad = True
    theirs = {name: _stored(model, name) for name in _linears(model) | layers}
    settings.setdefault("target_modules", _targets(theirs, layers))
    object.__setattr__(model, "lora_settings", settings)
    return adapter


def _put(model: Pretrained, name: str, module: nn.Module) -> None:
    path, _, last = name.rpartition(".")
    setattr(dict(model.named_modules())[path], last, module)


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
        TypeError: the model is none of `pf.models`.

    Example:
        >>> model = pf.models.Llama(pf.models.LlamaConfig(10, 8, num_layers=1, num_heads=2, embed_dim=8))
        >>> adapter = pf.lora.add(model, rank=2)
        >>> type(pf.lora.merge(model).layers[0].self_attn.q_proj).__name__
        'Linear'
    """
    layers = _layers_of(model, "merge")
    _dequantize(layers.values())
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
        _put(model, name, merged[layer])
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
    tensors = {
        f"{_PREFIX}{_stored(model, name)}.{part}.weight": getattr(layer, part).weight
        for name, layer in layers.items()
        for part in ("lora_A", "lora_B")
    }
    settings: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": None,
        "inference_mode": True,
        **model.lora_settings,
        "fan_in_fan_out": _are_transposed(model, layers),
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


def _are_transposed(model: Pretrained, layers: Collection[str]) -> bool:
    """Whether `transformers` keeps one of these layers' weights as (in, out)."""
    return any(model.layout.is_transposed(f"{name}.weight") for name in layers)


def _targets(theirs: Mapping[str, str], layers: Collection[str]) -> list[str]:
    """Last names of their modules, where all of such a name are meant, else whole names."""
    last = {theirs[name].rpartition(".")[2] for name in layers}
    if all(name in layers for name, stored in theirs.items() if stored.rpartition(".")[2] in last):
        return sorted(last)
    return sorted(theirs[name] for name in layers)


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
    _compare_places(path, settings, places, found)
    _check_twins(weights, model, found)
    transposed = settings.pop("fan_in_fan_out", None)
    if transposed is not None and transposed is not _are_transposed(model, found):
        log.warning("%s: fan_in_fan_out is %s, and read as %s, as these layers are", path, transposed, not transposed)
    rank = settings["r"]
    scale = settings["lora_alpha"] / (math.sqrt(rank) if settings.get("use_rslora") else rank)
    adapter = _placed(model, ranks, scale, settings)
    for name, parts in found.items():
        for letter, tensor in parts.items():
            getattr(adapter.layers[name], f"lora_{letter}").load_state_dict({"weight": tensor})
    return adapter


def _compare_places(path: Path, settings: Mapping[str, Any], places: Mapping[str, str], found: Collection[str]) -> None:
    """Compares the layers whose tensors there are with those that the settings name."""
    named = {stored for stored in places if _is_named(settings, stored)}
    given = {stored for stored, name in places.items() if name in found}
    if given - named:
        which = ", ".join(sorted(given - named)[:5])
        raise ValueError(f"{path}: there are tensors of layers that its settings leave out: {which}")
    has_pattern = any(isinstance(settings.get(key), str) for key in ("target_modules", "exclude_modules"))
    if "target_modules" in settings and not has_pattern and named - given:
        log.warning("%s names layers that it has no tensors for: %s", path, ", ".join(sorted(named - given)[:20]))


def _is_named(settings: Mapping[str, Any], stored: str) -> bool:
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


def _check_twins(path: Path, model: Pretrained, found: Mapping[str, Mapping[str, pf.Tensor]]) -> None:
    """ValueError if places that are one weight here have different tensors."""
    linears, first = _linears(model), TensorMap[str]()
    for name, parts in found.items():
        other = first.setdefault(_matrix(linears[name]), name)
        same = all(
            np.array_equal(parts[k].to(pf.float64).numpy(), found[other][k].to(pf.float64).numpy()) for k in "AB"
        )
        if not same:
            raise ValueError(f"{path}: {name} and {other} are one weight here, but have different layers")


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
    known = _WRITTEN | _PLACES | _KEPT
    other = sorted(name for name, value in values.items() if name not in known and value not in _NOTHING)
    if other:
        raise ValueError(f"{path}: settings that are not followed here: {', '.join(other)}")
    if values.get("init_lora_weights", True) not in (True, False, None, "gaussian"):
        raise ValueError(f"{path}: init_lora_weights {values['init_lora_weights']!r} changes the model's own weights")
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
