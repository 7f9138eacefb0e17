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
        local_base = _agreed(owner, "rope_theta", local, family.rope_keys[1], said)
        found["local_rope_base"] = family.local_rope_base if local_base is None else local_base
    extra = sorted(set(rope) - _SCALING_KEYS)
    if extra:
        raise ValueError(f"{owner}: rope_parameters or rope_scaling has unknown {extra}")
    part = _agreed(owner, "partial_rotary_factor", rope, "partial_rotary_factor", said) or 1.0
    rope.pop("partial_rotary_factor", None)
    if part != 1.0:
        found["rotary_dim"] = _part(owner, family, part, said)
    base = _agreed(owner, "rope_theta", rope, family.rope_keys[0], said)
    found["rope_base"] = family.rope_base if base is None else base
    rope.pop("rope_theta", None)
    kind = _kind(rope)
    rest = {key: value for key, value in rope.items() if key not in ("rope_type", "type")}
    original = said.get("original_max_position_embeddings")
    if original is not None and (family.long or kind in ("llama3", "yarn", "longrope")):
        inner = rest.get("original_max_position_embeddings", original)
        if inner != original:
            log.warning(
                "%s: %s %s is followed, as in transformers, not %s of the rotary parameters",
                *(owner, "original_max_position_embeddings", original, inner),
            )
        rest["original_max_position_embeddings"] = original
    if family.long and kind != "default":
        if kind not in ("su", "yarn", "longrope"):
            raise ValueError(f"{owner}: rope_type must be 'longrope', got {kind!r}")
        kind = "longrope"
        original = rest.get("original_max_position_embeddings")
        length = said["max_position_embeddings"]
        check_sizes(owner, original_max_position_embeddings=original, max_position_embeddings=length)
        rest = {"factor": length / original, **rest}
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


def _agreed(owner: str, key: str, rope: Mapping[str, Any], outer_key: str, said: Mapping[str, Any]) -> Any:
    """What `rope` says by `key`, else config.json by `outer_key`; a warning names the second where both differ."""
    inner, outer = rope.get(key), said.get(outer_key)
    if None not in (inner, outer) and inner != outer:
        log.warning(
            "%s: %s %s of the rotary parameters is followed, as in transformers, not %s %s beside them",
            *(owner, key, inner, outer_key, outer),
        )
    return outer if inner is None else inner


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
