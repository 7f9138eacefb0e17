"""Rotary positions as config.json says them: rope_theta and rope_scaling, or rope_parameters."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from pyformer.formats.hf.families import Family
from pyformer.nn.layers import check_sizes

log = logging.getLogger(__name__)

ROPE_KEYS = {
    *("rope_theta", "rope_scaling", "rope_parameters", "rope_local_base_freq", "partial_rotary_factor"),
    "original_max_position_embeddings",
}
_SCALING_KEYS = {
    *("rope_theta", "rope_type", "type", "factor", "low_freq_factor", "high_freq_factor"),
    *("original_max_position_embeddings", "beta_fast", "beta_slow", "attention_factor", "mscale", "mscale_all_dim"),
    *("truncate", "short_factor", "long_factor", "partial_rotary_factor"),
}


def read_rope(owner: str, family: Family, said: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the config that say how positions turn queries and keys."""
    older, newer = said.get("rope_scaling") or {}, said.get("rope_parameters") or {}
    if older and newer and older != newer:
        log.warning("%s: rope_scaling %s is followed, as in transformers, not rope_parameters %s", owner, older, newer)
    rope = _mapping(owner, older or newer)
    found: dict[str, Any] = {}
    if family.local_rope_base is not None:
        nested = set(rope) & {"full_attention", "sliding_attention"}
        local = _mapping(owner, rope.get("sliding_attention") or {}) if nested else {}
        rope = _mapping(owner, rope.get("full_attention") or {}) if nested else rope
        if _kind(local) != "default" or set(local) - {"rope_type", "type", "rope_theta", "partial_rotary_factor"}:
            raise ValueError(f"{owner}: rope_parameters of sliding_attention must be of type 'default', got {local}")
        default = said.get(family.rope_keys[1], family.local_rope_base)
        found["local_rope_base"] = local.get("rope_theta", default)
    extra = sorted(set(rope) - _SCALING_KEYS)
    if extra:
        raise ValueError(f"{owner}: rope_parameters or rope_scaling has unknown {extra}")
    part = rope.pop("partial_rotary_factor", None) or said.get("partial_rotary_factor") or 1.0
    if part != 1.0:
        found["rotary_dim"] = _part(owner, family, part, said)
    found["rope_base"] = rope.pop("rope_theta", None) or said.get(family.rope_keys[0], family.rope_base)
    kind = _kind(rope)
    rest = {key: value for key, value in rope.items() if key not in ("rope_type", "type")}
    if family.long and kind != "default":
        if kind not in ("su", "yarn", "longrope"):
            raise ValueError(f"{owner}: rope_type must be 'longrope', got {kind!r}")
        kind = "longrope"
        original = said.get("original_max_position_embeddings", rest.get("original_max_position_embeddings"))
        length = said["max_position_embeddings"]
        check_sizes(owner, original_max_position_embeddings=original, max_position_embeddings=length)
        rest = {"factor": length / original, **rest, "original_max_position_embeddings": original}
    return {**found, "rope_scaling": None if kind == "default" else {"rope_type": kind, **rest}}


def write_rope(family: Family, config: Any) -> dict[str, Any]:
    """The keys that say it; older `transformers` read them, too."""
    scaling = None if config.rope_scaling is None else dict(config.rope_scaling)
    base_key, local_key = family.rope_keys
    values = {base_key: config.rope_base}
    if "rope_scaling" not in family.fixed:
        values["rope_scaling"] = scaling
    elif scaling is not None:
        local = {"rope_type": "default", "rope_theta": config.local_rope_base}
        full = {**scaling, "rope_theta": config.rope_base}
        values["rope_parameters"] = {"full_attention": full, "sliding_attention": local}
    if family.local_rope_base is not None:
        values[local_key] = config.local_rope_base
    if family.partial_rotary:
        values["partial_rotary_factor"] = (config.rotary_dim or config.head_dim) / config.head_dim
    if family.long and scaling is not None:
        values["original_max_position_embeddings"] = scaling.get("original_max_position_embeddings")
    return values


def _kind(rope: Mapping[str, Any]) -> Any:
    return rope.get("rope_type", rope.get("type", "default"))


def _mapping(owner: str, rope: Any) -> dict[str, Any]:
    if not isinstance(rope, Mapping):
        raise TypeError(f"{owner}: rope_parameters or rope_scaling must be a mapping, got {type(rope).__name__}")
    return dict(rope)


def _part(owner: str, family: Family, part: Any, said: Mapping[str, Any]) -> int:
    """How many elements of a head are turned."""
    if not family.partial_rotary or not isinstance(part, float) or not 0.0 < part < 1.0:
        raise ValueError(f"{owner}: partial_rotary_factor must be 1.0, got {part!r}")
    width = said.get("head_dim") or said["hidden_size"] // said["num_attention_heads"]
    check_sizes(owner, head_dim=width)
    return int(width * part)
