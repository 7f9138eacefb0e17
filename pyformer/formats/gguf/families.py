"""Models in GGUF: what a config.json would say of a file, its tensors by Hugging Face's names, and the reverse."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

import pyformer as pf
from pyformer.formats.atomic import parse_object
from pyformer.formats.gguf import rope
from pyformer.formats.gguf.reader import GGUFEntry, GGUFFile
from pyformer.formats.gguf.table import FAMILIES, PATTERN, POOLING, POOLINGS, SCALE, TYPE_COUNT, Family
from pyformer.formats.gguf.writer import Blocks

log = logging.getLogger(__name__)

# Keys that repeat what other keys say, or that change nothing in this library.
_SILENT = {"vocab_size", "rope.dimension_count", "attention.value_length"}
# Tensors that llama.cpp adds to others, and takes in float32 only.
_ADDED = ("position_embd", "token_types")
_FULL, _SLIDING = "full_attention", "sliding_attention"
# A GGUF file names each token that ends a text by a key of its own; config.json lists them all in eos_token_id.
_ENDS = ("eos", "eot", "eom")
_SHARED = "pyformer.shared"  # as in safetensors' metadata
_SCALED = "pyformer.scale_decoder_outputs"  # as in T5's config.json


def _family(file: GGUFFile) -> tuple[str, Family]:
    arch = file.metadata.text("general.architecture")
    if arch not in FAMILIES:
        raise ValueError(f"{file.path}: general.architecture must be one of {sorted(FAMILIES)}, got {arch!r}")
    kind = file.metadata.text("general.type", "model")
    if kind != "model":
        raise ValueError(f"{file.path}: general.type must be 'model', got {kind!r}")
    if file.metadata.integer("split.count", 1) > 1:
        raise ValueError(f"{file.path}: one part of a model that is split: join the parts first")
    family = FAMILIES[arch]
    is_gated = any(name.endswith(".ffn_gate.weight") for name in file.entries)
    return arch, family.gated or family if is_gated else family


def read_config(file: GGUFFile) -> dict[str, Any]:
    """What config.json would say of the model in a file."""
    arch, family = _family(file)
    metadata = file.metadata
    integers, reals = {**family.integers, **family.more}, {**family.floats, **family.reals}
    known = {*integers.values(), *reals.values(), *family.flags, POOLING, *_SILENT, *rope.KEYS}
    known |= {*family.copies, *family.silent, *family.words}
    known |= set() if family.pattern is None else {PATTERN, SCALE}
    extra = [key for key in metadata.values if key.startswith(f"{arch}.") and key[len(arch) + 1 :] not in known]
    if extra:
        raise ValueError(f"{file.path}: keys that are not followed here: {', '.join(sorted(extra)[:5])}")
    values: dict[str, Any] = {"model_type": family.model_type}
    for name, tensor in {"vocab_size": "token_embd.weight", **family.sizes}.items():
        if tensor not in file.entries:
            raise ValueError(f"{file.path}: expected the tensor {tensor}, got none")
        values[name] = file.entries[tensor].shape[0]
    for key, wanted in family.flags.items():
        if metadata.flag(f"{arch}.{key}", wanted) != wanted:
            raise ValueError(f"{file.path}: {arch}.{key} must be {str(wanted).lower()}, got {str(not wanted).lower()}")
    for name, key in integers.items():
        values[name] = metadata.integer(f"{arch}.{key}", None, low=0 if key.endswith("token_id") else 1)
    for name, key in reals.items():
        values[name] = metadata.number(f"{arch}.{key}", None)
    _check_equal(file, f"{arch}.vocab_size", values["vocab_size"])
    for key, name in family.copies.items():
        if values[name] is not None:
            _check_equal(file, f"{arch}.{key}", values[name])
    if family.sides is not None:
        values |= _read_sides(file, arch, family, values)
    values |= {"tie_word_embeddings": "output.weight" not in file.entries, **family.told}
    if _SCALED in metadata:
        values["scale_decoder_outputs"] = metadata.flag(_SCALED, False)
    bos, *ends = (metadata.integer(f"tokenizer.ggml.{name}_token_id", None) for name in ("bos", *_ENDS))
    ends = list(dict.fromkeys(token for token in ends if token is not None))
    values |= {"bos_token_id": bos, "eos_token_id": ends if len(ends) > 1 else ends[0] if ends else None}
    # A missing key means None for these names, not the default of `transformers`.
    said = ["bos_token_id", "eos_token_id"]
    if family.rotary:
        _read_rotary(file, arch, family, values)
        said += ["sliding_window"]
        said += ["attention_multiplier"] if "attention_multiplier" in reals else []  # then 1 / sqrt(head_dim), not 1
    return {name: value for name, value in values.items() if value is not None or name in said}


def _read_rotary(file: GGUFFile, arch: str, family: Family, values: dict[str, Any]) -> None:
    """What decoders with rotary positions have besides."""
    _read_heads(file, arch, family, values)
    values["rope_scaling"] = rope.read_scaling(file, arch, values)
    if family.pattern is not None:
        _read_pattern(file, arch, family, values)
    for name, tensor in (("attention_bias", "attn_output"), ("mlp_bias", "ffn_down")):
        values[name] = True if f"blk.0.{tensor}.bias" in file.entries else None
    if family.also and values.get("sliding_window") is not None:  # config.json's llama has none: it is Mistral
        values["model_type"] = family.also[0]
    # What `transformers` takes for keys that aren't there differs from one family to the next.
    values["num_key_value_heads"] = values["num_key_value_heads"] or values["num_attention_heads"]


def _read_heads(file: GGUFFile, arch: str, family: Family, values: dict[str, Any]) -> None:
    """The width of a head, which is said up to three times; positions may turn a part of it."""
    turned, value = f"{arch}.rope.dimension_count", f"{arch}.attention.value_length"
    heads, width = values["num_attention_heads"], values["hidden_size"]
    for key in (value, turned) if not family.partial else (value,):
        values["head_dim"] = values["head_dim"] or file.metadata.integer(key, None, low=1)
    if family.partial or values["head_dim"] is None:
        values["head_dim"] = values["head_dim"] or (width // heads if heads and width else None)
    _check_equal(file, value, values["head_dim"])
    dims = file.metadata.integer(turned, values["head_dim"], low=1)
    if not family.partial:
        _check_equal(file, turned, values["head_dim"])
    elif values["head_dim"] and dims != values["head_dim"]:
        values["partial_rotary_factor"] = dims / values["head_dim"]


def _read_pattern(file: GGUFFile, arch: str, family: Family, values: dict[str, Any]) -> None:
    """Gemma: which layers have the window, and how scores are scaled."""
    layers = _layers(file, arch, values)
    slides = [(layer + 1) % family.pattern != 0 for layer in range(layers)]
    if f"{arch}.{PATTERN}" in file.metadata:
        slides = _listed(file, f"{arch}.{PATTERN}", layers)
    values["layer_types"] = [_SLIDING if each else _FULL for each in slides]
    scale = file.metadata.number(f"{arch}.{SCALE}", None)
    wide = layers == family.wide_layers and values["num_attention_heads"]
    width = values["hidden_size"] // values["num_attention_heads"] if wide else values["head_dim"]
    if scale is not None and not 0.0 < scale < 1e9:
        raise ValueError(f"{file.path}: {arch}.{SCALE} must be above 0, got {scale}")
    # The file has the scale in float32; six digits of scale**-2 give back the number, mostly a whole one.
    values["query_pre_attn_scalar"] = width if scale is None else float(f"{scale**-2.0:.6g}")


def _read_sides(file: GGUFFile, arch: str, family: Family, values: Mapping[str, Any]) -> dict[str, Any]:
    """ModernBERT: which layers have the window, the rotary base of these, and the activation."""
    metadata, found = file.metadata, {name: word for name, (word, *_) in family.words.items()}
    for name, words in family.words.items():
        found[name] = metadata.text(f"{arch}.{name}", words[0])
        if found[name] not in words:
            raise ValueError(f"{file.path}: {arch}.{name} must be one of {words}, got {found[name][:80]!r}")
    if rope.read_scaling(file, arch, {}) is not None:
        raise ValueError(f"{file.path}: {arch}.rope.scaling.type must be none")
    layers, key = _layers(file, arch, values), f"{arch}.{PATTERN}"
    if values["local_attention"] is None:
        slides = [False] * layers
    elif isinstance(metadata.values.get(key, (0, 0))[1], np.ndarray):
        slides = _listed(file, key, layers)
    else:
        each = metadata.integer(key, family.sides)
        slides = [each == 0 or layer % each != 0 for layer in range(layers)]
    found["layer_types"] = [_SLIDING if each else _FULL for each in slides]
    if values["local_rope_theta"] is None:
        found["local_rope_theta"] = values["global_rope_theta"]
    return found


def _layers(file: GGUFFile, arch: str, values: Mapping[str, Any]) -> int:
    """How many there are, not more than tensors."""
    layers = values["num_hidden_layers"] or 0
    if layers > len(file.entries):
        raise ValueError(f"{file.path}: {arch}.block_count means {layers} layers, got {len(file.entries)} tensors")
    return layers


def _listed(file: GGUFFile, key: str, layers: int) -> list[bool]:
    """Which layers have the window, where a file lists them."""
    slides = file.metadata.numbers(key, "i").tolist()
    if len(slides) != layers:
        raise ValueError(f"{file.path}: {key} must have {layers} elements, got {len(slides)}")
    return slides


def _check_equal(file: GGUFFile, key: str, wanted: int | None) -> None:
    got = file.metadata.integer(key, wanted)
    if got != wanted:
        raise ValueError(f"{file.path}: {key} must be {wanted}, as the rest of the file says, got {got}")


def read_pooling(file: GGUFFile) -> str | None:
    """How the vectors of a text's tokens become one: "mean", "cls" or "last"; None where the file doesn't say."""
    key = f"{_family(file)[0]}.{POOLING}"
    number = file.metadata.integer(key, 0)
    if number not in (0, *POOLINGS):
        raise ValueError(f"{file.path}: {key} must be one of {sorted((0, *POOLINGS))}, got {number}")
    return POOLINGS.get(number)


def warn_of_config(file: GGUFFile) -> None:
    """Names what `read_config` leaves out of a file: apart, since the file is read more than once to open it."""
    rope.warn_of_scaling(file, _family(file)[0])


def stored_entries(file: GGUFFile) -> dict[str, GGUFEntry]:
    """The tensors of a model by Hugging Face's names, without a prefix; those that are not known keep their own."""
    arch, family = _family(file)
    found: dict[str, GGUFEntry] = {}
    for name, entry in file.entries.items():
        if name in rope.TENSORS:
            continue
        layer = re.fullmatch(r"((?:\w+\.)?blk\.)(\d{1,5})\.(\w+)\.(weight|bias)", name)
        outer = re.fullmatch(r"([\w.]+)\.(weight|bias)", name)
        layers, names = family.tables().get(layer.group(1), ("", {})) if layer else ("", {})
        if layer and layer.group(3) in names:
            stored = f"{layers}{int(layer.group(2))}.{names[layer.group(3)]}.{layer.group(4)}"
            if family.permuted and layer.group(3) in ("attn_q", "attn_k"):
                entry = replace(entry, heads=_heads(file, arch, layer.group(3), entry))
        elif outer and outer.group(1) in family.outer:
            stored = f"{family.outer[outer.group(1)]}.{outer.group(2)}"
        else:
            stored = name
        if family.centred and name.endswith("norm.weight"):
            entry = replace(entry, shift=1.0)
        if stored in found:
            raise ValueError(f"{file.path}: {name} is there twice")
        found[stored] = entry
    return found


def file_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a file for the content of a config.json; ValueError for what GGUF has no key for."""
    arch, family = _family_of(values)
    for name, wanted in family.fixed.items():
        if values.get(name, wanted) != wanted:
            raise ValueError(f"GGUF: {name} must be {wanted!r} to be written, got {values[name]!r}")
    values = {**values, **family.derived(values)}
    missing = [name for name in family.needed if values.get(name) is None]
    if missing:
        raise ValueError(f"GGUF: {missing[0]} must be a number to be written, got None")
    keys: dict[str, Any] = {"general.architecture": arch, f"{arch}.vocab_size": values["vocab_size"]}
    integers, reals = {**family.integers, **family.more}, {**family.floats, **family.reals}
    for name, key in {**integers, **reals}.items():
        if values.get(name) is not None:
            keys[f"{arch}.{key}"] = float(values[name]) if name in reals else values[name]
    keys |= {f"{arch}.{key}": value for key, value in family.flags.items()} | _token_keys(values)
    if "type_vocab_size" in family.sizes:
        keys[TYPE_COUNT] = values["type_vocab_size"]
    keys |= {f"{arch}.{key}": values[name] for key, name in family.copies.items()}
    if family.sides is not None:
        keys |= _sides_keys(arch, family, values)
    if "scale_decoder_outputs" in values:
        keys[_SCALED] = values["scale_decoder_outputs"]
    if not family.rotary:
        return keys
    keys[f"{arch}.attention.value_length"] = values["head_dim"]
    keys[f"{arch}.rope.dimension_count"] = int(values["head_dim"] * values.get("partial_rotary_factor", 1.0))
    if family.pattern is not None:
        keys |= _pattern_keys(arch, family, values)
    if family.unturned is not None:
        wanted = [int((layer + 1) % family.unturned != 0) for layer in range(values["num_hidden_layers"])]
        if values.get("no_rope_layers") != wanted:
            raise ValueError(f"GGUF: no_rope_layers must be {wanted} to be written, got {values.get('no_rope_layers')}")
    return keys | rope.file_keys(arch, values)


def _sides_keys(arch: str, family: Family, values: Mapping[str, Any]) -> dict[str, Any]:
    """What `_read_sides` reads."""
    keys: dict[str, Any] = {f"{arch}.rope.scaling.type": "none"}
    for name, words in family.words.items():
        if values[name] not in words:
            raise ValueError(f"GGUF: {name} must be one of {words} to be written, got {values[name]!r}")
        keys[f"{arch}.{name}"] = values[name]
    slides = [kind == _SLIDING for kind in values["layer_types"]]
    usual = [layer % family.sides != 0 for layer in range(len(slides))] if family.sides else []
    keys[f"{arch}.{PATTERN}"] = family.sides if slides == usual else slides
    return keys


def _pattern_keys(arch: str, family: Family, values: Mapping[str, Any]) -> dict[str, Any]:
    """What `_read_pattern` reads; only where it is not what a file without these keys means."""
    keys: dict[str, Any] = {}
    slides = [kind == _SLIDING for kind in values["layer_types"]]
    if slides != [(layer + 1) % family.pattern != 0 for layer in range(len(slides))]:
        keys[f"{arch}.{PATTERN}"] = slides
    wide = len(slides) == family.wide_layers
    usual = values["hidden_size"] // values["num_attention_heads"] if wide else values["head_dim"]
    if values["query_pre_attn_scalar"] != usual:
        keys[f"{arch}.{SCALE}"] = float(values["query_pre_attn_scalar"]) ** -0.5
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
    _, family = _family_of(values)
    heads = {"attn_q": values.get("num_attention_heads"), "attn_k": values.get("num_key_value_heads")}
    found = {}
    for stored, tensor in _stacked(family, tensors).items():
        start, name, kind = _file_name(family, stored)
        matrix = tensor if isinstance(tensor, pf.QuantizedWeight) else None
        if matrix is not None:
            tensor = matrix.blocks()
        if family.permuted and name in heads:
            pairs = tensor.reshape(heads[name], 2, tensor.shape[0] // heads[name] // 2, *tensor.shape[1:])
            tensor = pairs.swapaxes(1, 2).reshape(*tensor.shape)
        if family.centred and name.endswith("norm"):
            tensor = tensor.to(pf.float32) + 1.0
        if name in _ADDED and matrix is None:
            tensor = tensor.to(pf.float32)
        tensor = tensor if matrix is None else Blocks(matrix.format, matrix.shape, tensor)
        found[f"{start}{name}.{kind}"] = tensor
    return found | rope.file_tensors(values) if family.rotary else found


def _file_name(family: Family, stored: str) -> tuple[str, str, str]:
    """The parts of a tensor's name in a file: what stands before a layer's names, the name, and weight or bias."""
    place, _, kind = stored.rpartition(".")
    for start, (layers, names) in family.tables().items():
        number = re.match(rf"{re.escape(layers)}(\d+)\.", stored)
        for name, other in names.items():
            if number and place[number.end() :] == other:
                return f"{start}{number.group(1)}.", name, kind
    for name, other in family.outer.items():
        if place == other:
            return "", name, kind
    raise ValueError(f"GGUF: {stored} has no name there")


def _stacked(family: Family, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors, those joined that a file holds as one; ValueError where they are of several formats."""
    found = dict(tensors)
    for whole, parts in family.stacked.values():
        for name in [name for name in found if f".{parts[0]}." in name]:
            rows = [found.pop(name.replace(parts[0], part)) for part in parts]
            formats = {getattr(row, "format", None) for row in rows}
            if len(formats) > 1:
                raise ValueError(f"GGUF: {whole} must be of one format, got {sorted(map(str, formats))}")
            joined: Any
            if formats == {None}:
                joined = pf.ops.concat(rows)
            else:
                shape = (sum(row.shape[0] for row in rows), *rows[0].shape[1:])
                joined = Blocks(rows[0].format, shape, pf.ops.concat([row.blocks() for row in rows]))
            found[name.replace(parts[0], whole)] = joined
    return found


def _family_of(values: Mapping[str, Any]) -> tuple[str, Family]:
    """(general.architecture, the family) that the content of a config.json is written as."""
    kinds = {kind: name for name, family in FAMILIES.items() for kind in (family.model_type, *family.also)}
    if values.get("model_type") not in kinds:
        raise ValueError(f"GGUF: model_type must be one of {sorted(kinds)}, got {values.get('model_type')!r}")
    arch = kinds[values["model_type"]]
    family = FAMILIES[arch]
    is_gated = str(values.get("feed_forward_proj")).startswith("gated")
    return arch, family.gated or family if is_gated else family


def _heads(file: GGUFFile, arch: str, which: str, entry: GGUFEntry) -> int:
    heads = file.metadata.integer(f"{arch}.attention.head_count", low=1)
    if which == "attn_k":
        heads = file.metadata.integer(f"{arch}.attention.head_count_kv", heads, low=1)
    if entry.shape[0] % (2 * heads):
        raise ValueError(
            f"{file.path}: {which} must have an even number of rows for each of {heads} heads, got {entry.shape}"
        )
    return heads
