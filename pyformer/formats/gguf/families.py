"""Families of models in GGUF, as data: which keys and names stand for which of Hugging Face's."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import pyformer as pf
from pyformer.formats.atomic import parse_object
from pyformer.formats.gguf.blocks import dequantize
from pyformer.formats.gguf.reader import GGUFEntry, GGUFFile, bytes_at
from pyformer.formats.gguf.writer import Blocks

log = logging.getLogger(__name__)

# config.json's names of numbers, and GGUF's, without the family's name before them.
_INTEGERS = {
    "max_position_embeddings": "context_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
}
_REALS = {"rms_norm_eps": "attention.layer_norm_rms_epsilon", "rope_theta": "rope.freq_base"}
# Keys that say again what others say, or nothing here.
_SILENT = {"vocab_size", "rope.dimension_count", "attention.value_length"}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_OUTER = {"token_embd": "embed_tokens", "output_norm": "norm", "output": "lm_head"}
_ROPE_FACTORS = "rope_freqs.weight"
# Each of these ends a text; the first is config.json's, or the list of all that there are.
_ENDS = ("eos", "eot", "eom")
_SHARED = "pyformer.shared"  # as in safetensors' metadata


@dataclass(frozen=True)
class Family:
    """One `general.architecture`.

    `model_type` is config.json's, `also` are others that are written as this one; `more` are numbers that it has
    besides; `permuted` says that the rows of q and k are in the order of interleaved rotary positions.
    """

    model_type: str
    permuted: bool = False
    also: tuple[str, ...] = ()
    more: Mapping[str, str] = field(default_factory=dict)
    layer: Mapping[str, str] = field(default_factory=lambda: _LAYER)


FAMILIES = {
    "llama": Family("llama", permuted=True, also=("mistral",), more={"sliding_window": "attention.sliding_window"})
}


def _family(file: GGUFFile) -> tuple[str, Family]:
    arch = file.metadata.text("general.architecture")
    if arch not in FAMILIES:
        raise ValueError(f"{file.path}: general.architecture must be one of {sorted(FAMILIES)}, got {arch!r}")
    kind = file.metadata.text("general.type", "model")
    if kind != "model":
        raise ValueError(f"{file.path}: general.type must be 'model', got {kind!r}")
    if file.metadata.integer("split.count", 1) > 1:
        raise ValueError(f"{file.path}: one part of a model that is split: join the parts first")
    return arch, FAMILIES[arch]


def read_config(file: GGUFFile) -> dict[str, Any]:
    """What config.json would say of the model in a file."""
    arch, family = _family(file)
    metadata = file.metadata
    integers = {**_INTEGERS, **family.more}
    known = {*integers.values(), *_REALS.values(), *_SILENT, "rope.scaling.type", *_FACTORS}
    extra = [key for key in metadata.values if key.startswith(f"{arch}.") and key[len(arch) + 1 :] not in known]
    if extra:
        raise ValueError(f"{file.path}: keys that are not followed here: {', '.join(sorted(extra)[:5])}")
    if "token_embd.weight" not in file.entries:
        raise ValueError(f"{file.path}: expected the tensor token_embd.weight, got none")
    values: dict[str, Any] = {"model_type": family.model_type, "vocab_size": file.entries["token_embd.weight"].shape[0]}
    for name, key in integers.items():
        values[name] = metadata.integer(f"{arch}.{key}", None, low=1)
    if values.get("sliding_window") is not None:
        values["model_type"] = family.also[0]  # LLaMA has none: it is Mistral
    for name, key in _REALS.items():
        values[name] = metadata.number(f"{arch}.{key}", None)
    # The width of a head is said up to three times.
    for key in ("rope.dimension_count", "attention.value_length"):
        values["head_dim"] = values["head_dim"] or metadata.integer(f"{arch}.{key}", None, low=1)
        _check_equal(file, f"{arch}.{key}", values["head_dim"])
    _check_equal(file, f"{arch}.vocab_size", values["vocab_size"])
    values["rope_scaling"] = _rope_scaling(file, arch, values)
    values["tie_word_embeddings"] = "output.weight" not in file.entries
    bos, *ends = (metadata.integer(f"tokenizer.ggml.{name}_token_id", None) for name in ("bos", *_ENDS))
    ends = list(dict.fromkeys(token for token in ends if token is not None))
    values |= {"bos_token_id": bos, "eos_token_id": ends if len(ends) > 1 else ends[0] if ends else None}
    if values.get("sliding_window") is not None:
        values["num_key_value_heads"] = values["num_key_value_heads"] or values["num_attention_heads"]
    return {name: value for name, value in values.items() if value is not None}


def _check_equal(file: GGUFFile, key: str, wanted: int | None) -> None:
    got = file.metadata.integer(key, wanted)
    if got != wanted:
        raise ValueError(f"{file.path}: {key} must be {wanted}, as the rest of the file says, got {got}")


def _rope_scaling(file: GGUFFile, arch: str, values: dict[str, Any]) -> dict[str, Any] | None:
    """Linear scaling by the keys, or LLaMA 3's where the file's factors are those of its rule."""
    said = [value for key in _FACTORS if (value := file.metadata.number(f"{arch}.{key}", None))]
    factor = said[0] if said else None
    # A factor without a type is linear, as llama.cpp has it.
    kind = file.metadata.text(f"{arch}.rope.scaling.type", "none" if factor in (None, 1.0) else "linear")
    if kind == "linear":
        return {"rope_type": "linear", "factor": file.metadata.number(f"{arch}.{_FACTORS[0]}") if not said else factor}
    if kind == "none" and factor not in (None, 1.0):
        log.warning("%s: the rotary scaling's type is none, so its factor %s is left out", file.path, factor)
    if kind != "none":
        raise ValueError(f"{file.path}: {arch}.rope.scaling.type must be none or linear, got {kind!r}")
    if _ROPE_FACTORS not in file.entries:
        return None
    entry = file.entries[_ROPE_FACTORS]
    if len(entry.shape) != 1 or entry.shape[0] > 1 << 12:
        raise ValueError(f"{file.path}: {_ROPE_FACTORS} must be a vector of half a head, got shape {entry.shape}")
    with open(file.path, "rb") as opened:
        factors = dequantize(entry.dtype, bytes_at(opened, entry.begin, entry.end - entry.begin))
    rule = {"rope_type": "llama3", "factor": float(factors.max()), **_LLAMA3}
    wanted = _llama3_factors(2 * entry.shape[0], values.get("rope_theta") or 10000.0, rule)
    if not np.allclose(factors, wanted, rtol=1e-5, atol=0.0):
        raise ValueError(f"{file.path}: {_ROPE_FACTORS} must be those of LLaMA 3's rule, which alone is known here")
    return rule


_FACTORS = ("rope.scaling.factor", "rope.scale_linear")  # the latter in older files
_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def _llama3_factors(head_dim: int, base: float, rule: Mapping[str, Any]) -> np.ndarray:
    """By how much the rule divides each frequency."""
    low, high = rule["low_freq_factor"], rule["high_freq_factor"]
    length, factor = rule["original_max_position_embeddings"], rule["factor"]
    found = []
    for i in range(0, head_dim, 2):
        turns = length / (2 * np.pi * base ** (i / head_dim))
        smooth = min(max((turns - low) / (high - low), 0.0), 1.0)
        found.append(1.0 / ((1.0 - smooth) / factor + smooth))
    return np.array(found)


def stored_entries(file: GGUFFile) -> dict[str, GGUFEntry]:
    """The tensors of a model by Hugging Face's names, without a prefix; those that are not known keep their own."""
    arch, family = _family(file)
    found: dict[str, GGUFEntry] = {}
    for name, entry in file.entries.items():
        if name == _ROPE_FACTORS:
            continue
        layer = re.fullmatch(r"blk\.(\d{1,5})\.(\w+)\.(weight|bias)", name)
        outer = re.fullmatch(r"(\w+)\.(weight|bias)", name)
        if layer and layer.group(2) in family.layer:
            stored = f"layers.{int(layer.group(1))}.{family.layer[layer.group(2)]}.{layer.group(3)}"
            if family.permuted and layer.group(2) in ("attn_q", "attn_k"):
                entry = replace(entry, heads=_heads(file, arch, layer.group(2), entry))
        elif outer and outer.group(1) in _OUTER:
            stored = f"{_OUTER[outer.group(1)]}.{outer.group(2)}"
        else:
            stored = name
        if stored in found:
            raise ValueError(f"{file.path}: {name} is there twice")
        found[stored] = entry
    return found


def file_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a file for the content of a config.json; ValueError for what GGUF has no key for."""
    arch = _architecture(values)
    keys: dict[str, Any] = {"general.architecture": arch, f"{arch}.vocab_size": values["vocab_size"]}
    for name, key in {**_INTEGERS, **FAMILIES[arch].more, **_REALS}.items():
        if values.get(name) is not None:
            keys[f"{arch}.{key}"] = float(values[name]) if name in _REALS else values[name]
    keys[f"{arch}.rope.dimension_count"] = values["head_dim"]
    keys |= _token_keys(values)
    scaling = values.get("rope_scaling") or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "linear":
        keys |= {f"{arch}.rope.scaling.type": "linear", f"{arch}.rope.scaling.factor": float(scaling["factor"])}
    elif kind == "llama3" and any(scaling.get(name) != value for name, value in _LLAMA3.items()):
        raise ValueError(f"GGUF: rope_scaling must be {_LLAMA3} to be written, got {scaling}")
    elif kind not in ("default", "llama3"):
        raise ValueError(f"GGUF: rope_scaling of type {kind!r} is not written")
    return keys


def _token_keys(values: Mapping[str, Any]) -> dict[str, int]:
    """The keys of the tokens that begin and end a text."""
    ends = values.get("eos_token_id")
    ends = ends if isinstance(ends, list) else [ends]
    if len(ends) > len(_ENDS):
        log.warning("GGUF has keys for %s ends of a text; %s are left out", len(_ENDS), ends[len(_ENDS) :])
    tokens = {"bos": values.get("bos_token_id"), **dict(zip(_ENDS, ends, strict=False))}
    return {f"tokenizer.ggml.{name}_token_id": token for name, token in tokens.items() if token is not None}


def shared_keys(shared: Mapping[str, str]) -> dict[str, str]:
    """The key that says which tensors are one with another, by Hugging Face's names."""
    return {_SHARED: json.dumps(dict(shared))} if shared else {}


def read_shared(file: GGUFFile) -> dict[str, str]:
    """What `shared_keys` has written."""
    shared = parse_object(file.metadata.text(_SHARED, "{}").encode(), f"{file.path}: {_SHARED}")
    if not all(isinstance(other, str) for other in shared.values()):
        raise ValueError(f"{file.path}: {_SHARED} must be names of tensors, got {shared}")
    return shared


def file_tensors(values: Mapping[str, Any], tensors: Mapping[str, Any]) -> dict[str, pf.Tensor | Blocks]:
    """Tensors or quantised matrices by Hugging Face's names, without a prefix, as a file has them."""
    family = FAMILIES[_architecture(values)]
    heads = {"attn_q": values["num_attention_heads"], "attn_k": values["num_key_value_heads"]}
    layer, outer = ({stored: name for name, stored in table.items()} for table in (family.layer, _OUTER))
    found = {}
    for stored, tensor in tensors.items():
        place, _, kind = stored.rpartition(".")
        number = re.match(r"layers\.(\d+)\.", stored)
        name = layer.get(place[number.end() :]) if number else outer.get(place)
        if name is None:
            raise ValueError(f"GGUF: {stored} has no name there")
        matrix = tensor if isinstance(tensor, pf.QuantizedWeight) else None
        if matrix is not None:
            tensor = matrix.blocks()
        if family.permuted and name in heads:
            pairs = tensor.reshape(heads[name], 2, tensor.shape[0] // heads[name] // 2, *tensor.shape[1:])
            tensor = pairs.swapaxes(1, 2).reshape(*tensor.shape)
        tensor = tensor if matrix is None else Blocks(matrix.format, matrix.shape, tensor)
        found[f"blk.{number.group(1)}.{name}.{kind}" if number else f"{name}.{kind}"] = tensor
    scaling = values.get("rope_scaling") or {}
    if scaling.get("rope_type", scaling.get("type")) == "llama3":
        factors = _llama3_factors(values["head_dim"], values["rope_theta"], scaling)
        found[_ROPE_FACTORS] = pf.tensor(factors.astype(np.float32), device="cpu")
    return found


def _architecture(values: Mapping[str, Any]) -> str:
    kinds = {kind: name for name, family in FAMILIES.items() for kind in (family.model_type, *family.also)}
    if values.get("model_type") not in kinds:
        raise ValueError(f"GGUF: model_type must be one of {sorted(kinds)}, got {values.get('model_type')!r}")
    return kinds[values["model_type"]]


def _heads(file: GGUFFile, arch: str, which: str, entry: GGUFEntry) -> int:
    heads = file.metadata.integer(f"{arch}.attention.head_count", low=1)
    if which == "attn_k":
        heads = file.metadata.integer(f"{arch}.attention.head_count_kv", heads, low=1)
    if entry.shape[0] % (2 * heads):
        raise ValueError(
            f"{file.path}: {which} must have an even number of rows for each of {heads} heads, got {entry.shape}"
        )
    return heads
