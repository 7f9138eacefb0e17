"""Decoders: what `transformers` says of each family, a row a family, read into a config and written from one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any

from pyformer.formats.hf.config import (
    OUR_ACTIVATIONS,
    WRITTEN_KEYS,
    check_known,
    is_number,
    read_activation,
    warn_of_dropout,
    warn_of_sampling,
)
from pyformer.formats.hf.families import FAMILIES, FULL, KEYS, OPTIONAL_KEYS, OWN_TYPE, SLIDING, Family
from pyformer.formats.hf.rope import ROPE_KEYS, read_rope, write_rope
from pyformer.formats.layout import Layout
from pyformer.nn.layers import check_sizes

_WINDOW_KEYS = {
    *("sliding_window", "use_sliding_window", "max_window_layers", "layer_types", "sliding_window_pattern"),
    "_sliding_window_pattern",
}
_DROPOUTS = ("attention_dropout", "resid_pdrop", "embd_pdrop", "embedding_dropout", "mlp_dropout")
# For a key of config.json: how its value becomes ours, and how ours becomes the file's. A value of a wrong type is
# passed on as it is, and DecoderConfig refuses it.
_CONVERTED = {
    "query_pre_attn_scalar": (
        lambda theirs: theirs**-0.5 if is_number(theirs) else theirs,
        lambda ours: _plain(ours**-2.0),
    ),
    "no_rope_layers": (
        lambda theirs: tuple(bool(n) if n in (0, 1) else n for n in theirs) if isinstance(theirs, list) else theirs,
        lambda ours: list(map(int, ours)),
    ),
}


def layout_of(owner: str, model_type: Any) -> Layout:
    """The layout of a family's folders; ValueError for one that isn't here."""
    if not isinstance(model_type, str) or model_type not in _LAYOUTS:
        raise ValueError(f"{owner}: model_type must be one of {sorted(_LAYOUTS)}, got {model_type!r}")
    return _LAYOUTS[model_type]


def checked_layout(config: Any) -> Layout:
    """The layout of the config's family; ValueError, naming the fields, where the family's files can't say what the
    config says."""
    name = type(config).__name__
    layout = layout_of(name, config.family)
    if "attention_scale" in FAMILIES[config.family].keys:
        config = replace(config, attention_scale=_scale(config))
    again = _read(config.family, type(config), _values(config))
    differ = [field.name for field in fields(config) if getattr(again, field.name) != getattr(config, field.name)]
    if differ:
        got = ", ".join(f"{field} {getattr(config, field)!r}" for field in differ[:3])
        means = ", ".join(f"{getattr(again, field)!r}" for field in differ[:3])
        raise ValueError(f"{name}: family {config.family!r} doesn't have {got}; it has {means}")
    return layout


def _read(kind: str, config_class: Any, values: Mapping[str, Any]) -> Any:
    family, owner = FAMILIES[kind], config_class.model_class.__name__
    check_known(owner, values, fixed=family.fixed, required=_REQUIRED, known=_known(family))
    check_sizes(owner, **{key: values[key] for key in ("num_hidden_layers", "hidden_size", "num_attention_heads")})
    said = {**family.defaults, **values}
    said |= family.derived(owner, said)
    found = dict(family.settings)
    for ours, theirs in {**KEYS, **family.keys}.items():
        if said.get(theirs) is not None or theirs in values:
            value, (convert, _) = said[theirs], _CONVERTED.get(theirs, (_same, _same))
            found[ours] = value if value is None else convert(value)
    if family.scales_embedding:
        found["embed_scale"] = values["hidden_size"] ** 0.5
    found["activation"] = read_activation(owner, family.activation, said.get(family.activation, "silu"))
    found |= _read_windows(owner, family, said) | read_rope(owner, family, said)
    warn_of_sampling(values)
    warn_of_dropout(owner, values, **dict.fromkeys(_DROPOUTS, found.get("dropout") or 0.0))
    return config_class(**found, family=kind)


def _read_windows(owner: str, family: Family, said: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the config that say which layers see a window only."""
    window = said.get("sliding_window")
    if family.windows == "sides":
        sides = said["local_attention"]
        check_sizes(owner, local_attention=sides)
        window = sides // 2 + 1
    if family.windows == "none":
        return {}
    if family.windows == "all":
        return {"window": window}
    if family.windows == "some" and (window is None or not said.get("use_sliding_window", False)):
        window = None
    types = said.get("layer_types") or family.layer_types(owner, said, window)
    if not isinstance(types, list):
        raise TypeError(f"{owner}: layer_types must be a list, got {type(types).__name__}")
    if window is None and SLIDING in types:
        raise ValueError(f"{owner}: layer_types has {SLIDING!r}, for which sliding_window must be a number, got None")
    if family.windows == "some" and window is None:
        return {}
    return {"window": window, "layer_types": tuple(types)}


def _values(config: Any) -> dict[str, Any]:
    """What config.json says of a config."""
    family = FAMILIES[config.family]
    values: dict[str, Any] = {"architectures": [family.architecture], "model_type": config.family}
    for ours, theirs in {**KEYS, **family.keys}.items():
        value, (_, convert) = getattr(config, ours), _CONVERTED.get(theirs, (_same, _same))
        if ours == "attention_scale":
            value = _scale(config)
        values[theirs] = value if value is None else convert(value)
    values[family.activation] = {**OUR_ACTIVATIONS, "gelu_tanh": "gelu_pytorch_tanh"}[config.activation]
    values |= {key: allowed[0] for key, allowed in family.written.items()}
    if family.windows == "sides":
        values["local_attention"] = 2 * ((config.window or config.context_length) - 1)
    elif family.windows != "none":
        values["sliding_window"] = config.window
    if family.windows == "some":
        values["use_sliding_window"] = config.window is not None
    if family.windows in ("some", "types", "sides"):
        values["layer_types"] = list(config.layer_types or [FULL] * config.num_layers)
    return {**values, **write_rope(family, config)}


def _scale(config: Any) -> float:
    """By what scores are multiplied, also where the config leaves it open, which `transformers` has no word for."""
    return config.head_dim**-0.5 if config.attention_scale is None else config.attention_scale


def _known(family: Family) -> set[str]:
    ours = {*{**KEYS, **family.keys}.values(), *family.known, *family.rope_keys, family.activation}
    return ours | {*_WINDOW_KEYS, *ROPE_KEYS, *_DROPOUTS}


def _same(value: Any) -> Any:
    return value


def _plain(value: float) -> int | float:
    """A number that a power has moved by a rounding, as it was; an int if it is whole."""
    value = float(f"{value:.12g}")
    return int(value) if value.is_integer() else value


def _config_of(kind: str, model_class: Any, values: Mapping[str, Any]) -> Any:
    return _read(kind, model_class.config_class, values)


def _values_of(model: Any) -> dict[str, Any]:
    return _values(model.config)


def _layout(kind: str, family: Family) -> Layout:
    return Layout(
        partial(_config_of, kind),  # no lambdas: a model holds its layout and can be pickled
        _values_of,
        prefix="model.",
        bare=family.bare,
        parts=family.outer_names,
        layer_parts=family.names,
        stacked=family.stacked,
        # A file may hold lm_head.weight although it is tied to the embedding.
        unused=family.unused,
        redundant=r"(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq|lm_head\.weight",
        tie=("lm_head.weight", "embed_tokens.weight"),
        followed=(_known(family) - {"max_window_layers", *_DROPOUTS}) | {*family.fixed, *WRITTEN_KEYS},
    )


_REQUIRED = [key for key in KEYS.values() if key not in OPTIONAL_KEYS]
_LAYOUTS = {kind: _layout(kind, family) for kind, family in FAMILIES.items()}
DECODER_TYPES = tuple(kind for kind in FAMILIES if kind not in ("llama", "mistral", OWN_TYPE, "modernbert"))
