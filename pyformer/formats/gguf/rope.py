"""How GGUF says that rotary positions are scaled."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

import pyformer as pf
from pyformer.formats.gguf.blocks import dequantize
from pyformer.formats.gguf.reader import GGUFFile, bytes_at

log = logging.getLogger(__name__)

FACTORS = "rope_freqs.weight"
LONG, SHORT = "rope_factors_long.weight", "rope_factors_short.weight"
TENSORS = (FACTORS, LONG, SHORT)
_ORIGINAL = "rope.scaling.original_context_length"
_YARN = {"beta_fast": "rope.scaling.yarn_beta_fast", "beta_slow": "rope.scaling.yarn_beta_slow"}
_FACTORS = ("rope.scaling.factor", "rope.scale_linear")  # the latter in older files
KEYS = ("rope.scaling.type", *_FACTORS, _ORIGINAL, "rope.scaling.attn_factor", *_YARN.values())
_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def read_scaling(file: GGUFFile, arch: str, values: dict[str, Any]) -> dict[str, Any] | None:
    """What rope_scaling of config.json would say; LLaMA 3's where the file's factors are those of its rule."""
    metadata = file.metadata
    kind, factor = _kind(file, arch)
    original = metadata.integer(f"{arch}.{_ORIGINAL}", None, low=1)
    if LONG in file.entries or SHORT in file.entries:
        if original is None or not {LONG, SHORT} <= file.entries.keys():
            raise ValueError(f"{file.path}: expected {LONG}, {SHORT} and the key {arch}.{_ORIGINAL} together")
        factors = {"short_factor": _factors(file, SHORT).tolist(), "long_factor": _factors(file, LONG).tolist()}
        return {"rope_type": "longrope", **factors, "original_max_position_embeddings": original}
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor or metadata.number(f"{arch}.{_FACTORS[0]}")}
    if kind == "yarn":
        found = {"rope_type": "yarn", "factor": metadata.number(f"{arch}.rope.scaling.factor")}
        found["original_max_position_embeddings"] = metadata.integer(f"{arch}.{_ORIGINAL}", low=1)
        if metadata.number(f"{arch}.rope.scaling.attn_factor", 1.0) != 1.0:
            raise ValueError(f"{file.path}: {arch}.rope.scaling.attn_factor must be 1.0 beside yarn")
        return found | {
            name: metadata.number(f"{arch}.{key}") for name, key in _YARN.items() if f"{arch}.{key}" in metadata
        }
    if kind != "none":
        raise ValueError(f"{file.path}: {arch}.rope.scaling.type must be none or linear or yarn, got {kind!r}")
    if FACTORS not in file.entries:
        return None
    factors = _factors(file, FACTORS)
    rule = {"rope_type": "llama3", "factor": float(factors.max()), **_LLAMA3}
    base = values.get("rope_theta") or 10000.0
    if not base > 0.0:
        raise ValueError(f"{file.path}: {arch}.rope.freq_base must be above 0, got {base}")
    wanted = _llama3_factors(2 * len(factors), base, rule)
    if not np.allclose(factors, wanted, rtol=1e-5, atol=0.0):
        raise ValueError(f"{file.path}: {FACTORS} must be those of LLaMA 3's rule, which alone is known here")
    return rule


def warn_of_scaling(file: GGUFFile, arch: str) -> None:
    """Names what `read_scaling` leaves out."""
    kind, factor = _kind(file, arch)
    if kind == "none" and factor not in (None, 1.0):
        log.warning("%s: the rotary scaling's type is none, so its factor %s is left out", file.path, factor)


def _kind(file: GGUFFile, arch: str) -> tuple[str, float | None]:
    """The type of scaling, and its factor where there is one; a factor without a type is linear, as in llama.cpp."""
    said = [value for key in _FACTORS if (value := file.metadata.number(f"{arch}.{key}", None))]
    factor = said[0] if said else None
    return file.metadata.text(f"{arch}.rope.scaling.type", "none" if factor in (None, 1.0) else "linear"), factor


def _factors(file: GGUFFile, name: str) -> np.ndarray:
    entry = file.entries[name]
    if len(entry.shape) != 1 or not 0 < entry.shape[0] <= 1 << 12:
        raise ValueError(f"{file.path}: {name} must be a vector of half a head, got shape {entry.shape}")
    with open(file.path, "rb") as opened:
        factors = dequantize(entry.dtype, bytes_at(opened, entry.begin, entry.end - entry.begin))
    if not ((factors > 0.0) & (factors < np.inf)).all():
        raise ValueError(f"{file.path}: {name} must hold finite numbers above 0")
    return factors


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


def scaling_of(values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """(the kind, what else is said) of a config.json's rope_scaling, of full attention where there are two."""
    scaling = dict(values.get("rope_scaling") or {})
    scaling = scaling or dict((values.get("rope_parameters") or {}).get("full_attention") or {})
    kind = scaling.pop("rope_type", scaling.pop("type", "default"))
    scaling.pop("rope_theta", None)
    return kind, scaling


def file_keys(arch: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that say it; ValueError for what they can't say."""
    kind, scaling = scaling_of(values)
    said = {name: value for name, value in scaling.items() if value is not None}
    if kind == "linear":
        return {f"{arch}.rope.scaling.type": "linear", f"{arch}.rope.scaling.factor": float(scaling["factor"])}
    if kind == "yarn":
        extra = sorted(set(said) - {"factor", "original_max_position_embeddings", *_YARN})
        if extra or "original_max_position_embeddings" not in said:
            raise ValueError(f"GGUF: rope_scaling of yarn must say factor and its original length, got {scaling}")
        keys = {f"{arch}.{key}": float(said[name]) for name, key in _YARN.items() if name in said}
        keys |= {f"{arch}.rope.scaling.type": "yarn", f"{arch}.rope.scaling.factor": float(said["factor"])}
        return {**keys, f"{arch}.{_ORIGINAL}": said["original_max_position_embeddings"]}
    if kind == "longrope":
        length, original = values["max_position_embeddings"], said["original_max_position_embeddings"]
        extra = set(said) - {"short_factor", "long_factor", "factor", "original_max_position_embeddings"}
        if extra or said.get("factor", length / original) != length / original:
            raise ValueError(f"GGUF: rope_scaling of longrope must have the factor {length / original}, got {scaling}")
        factor = pf.ops.rope_magnitude({"rope_type": "longrope", **said})
        return {f"{arch}.{_ORIGINAL}": original, f"{arch}.rope.scaling.attn_factor": float(factor)}
    if kind == "llama3" and any(scaling.get(name) != value for name, value in _LLAMA3.items()):
        raise ValueError(f"GGUF: rope_scaling must be {_LLAMA3} to be written, got {scaling}")
    if kind not in ("default", "llama3"):
        raise ValueError(f"GGUF: rope_scaling of type {kind!r} is not written")
    return {}


def file_tensors(values: Mapping[str, Any]) -> dict[str, pf.Tensor]:
    """The tensors that say it."""
    kind, scaling = scaling_of(values)
    found: dict[str, Any] = {}
    if kind == "llama3":
        found[FACTORS] = _llama3_factors(values["head_dim"], values["rope_theta"], scaling)
    if kind == "longrope":
        found = {LONG: np.array(scaling["long_factor"]), SHORT: np.array(scaling["short_factor"])}
    return {name: pf.tensor(factors.astype(np.float32), device="cpu") for name, factors in found.items()}
