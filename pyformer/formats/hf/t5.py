"""T5, T5 v1.1, Flan-T5 and mT5: `transformers`' T5ForConditionalGeneration and MT5ForConditionalGeneration."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from pyformer.formats.hf.config import (
    OUR_ACTIVATIONS,
    WRITTEN_KEYS,
    check_known,
    read_activation,
    warn_of_sampling,
)
from pyformer.formats.layout import Layout
from pyformer.nn.layers import check_sizes

log = logging.getLogger(__name__)

_FIELDS = {
    "vocab_size": "vocab_size",
    "num_layers": "num_layers",
    "num_heads": "num_heads",
    "embed_dim": "d_model",
    "hidden_dim": "d_ff",
    "head_dim": "d_kv",
    "num_decoder_layers": "num_decoder_layers",
    "num_buckets": "relative_attention_num_buckets",
    "max_distance": "relative_attention_max_distance",
    "dropout": "dropout_rate",
    "norm_epsilon": "layer_norm_epsilon",
    "bos_id": "decoder_start_token_id",
    "eos_id": "eos_token_id",
}
_REQUIRED = [_FIELDS[name] for name in ("vocab_size", "num_layers", "num_heads", "embed_dim", "hidden_dim", "head_dim")]
_FIXED: dict[str, tuple[Any, ...]] = {"is_encoder_decoder": (True,), "is_decoder": (False,)}
_DERIVED = {"feed_forward_proj", "dense_act_fn", "is_gated_act", "tie_word_embeddings", "scale_decoder_outputs"}
# n_positions sets no limit, since T5 knows positions by their distances only. classifier_dropout is of a head that this
# library doesn't have, and initializer_factor scales first weights, which the file replaces.
_KNOWN = {*_FIELDS.values(), *_DERIVED, "n_positions", "classifier_dropout", "initializer_factor"}
_ARCHITECTURES = {"t5": "T5ForConditionalGeneration", "mt5": "MT5ForConditionalGeneration"}
T5_TYPES = tuple(_ARCHITECTURES)
GATED_GELU = "gated-gelu"  # whose GELU is that of tanh


def _read(cls: Any, values: Mapping[str, Any]) -> Any:
    family = values.get("model_type")
    if not isinstance(family, str) or family not in _ARCHITECTURES:
        raise ValueError(f"T5: model_type must be one of {sorted(_ARCHITECTURES)}, got {family!r}")
    check_known("T5", values, fixed=_FIXED, required=_REQUIRED, known=_KNOWN)
    check_sizes("T5", **{key: values[key] for key in _REQUIRED})
    found = {ours: values[theirs] for ours, theirs in _FIELDS.items() if values.get(theirs) is not None}
    if "bos_id" not in found:
        found["bos_id"] = values.get("pad_token_id") or 0
    found["gated"], found["activation"] = _read_activation(family, values)
    scaled = values.get("scale_decoder_outputs", values.get("tie_word_embeddings") is not False)
    config = cls.config_class(**found, family=family, scaled=scaled if family == "t5" else False)
    if config.dropout:
        log.warning(
            "T5: config.json says dropout_rate %s; training here has none on attention weights and within MLPs",
            config.dropout,
        )
    warn_of_sampling(values)
    return config


def _read_activation(family: str, values: Mapping[str, Any]) -> tuple[bool, str]:
    """(whether the MLPs are gated, our name of their activation)."""
    said = values.get("feed_forward_proj", "relu" if family == "t5" else GATED_GELU)
    if not isinstance(said, str):
        raise TypeError(f"T5: feed_forward_proj must be a string, got {type(said).__name__}")
    gated = said.startswith("gated-")
    name = "gelu_new" if said == GATED_GELU else said.removeprefix("gated-")
    for key, value in (("dense_act_fn", name), ("is_gated_act", gated)):
        if values.get(key, value) != value:
            raise ValueError(f"T5: {key} must be {value!r} as feed_forward_proj is {said!r}, got {values[key]!r}")
    return gated, read_activation("T5", "feed_forward_proj", name)


def _write(model: Any) -> dict[str, Any]:
    config = model.config
    activation = OUR_ACTIVATIONS[config.activation]
    values = {
        "architectures": [_ARCHITECTURES[config.family]],
        "model_type": config.family,
        **{theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()},
        "is_encoder_decoder": True,
        "feed_forward_proj": f"gated-{activation}" if config.gated else activation,
        "tie_word_embeddings": config.scaled if config.family == "t5" else config.tied,
    }
    if config.gated and config.activation == "gelu_tanh":
        values["feed_forward_proj"] = GATED_GELU
    return values | ({"scale_decoder_outputs": config.scaled} if config.family == "t5" else {})


_OUTER = {
    "tokens.": "shared.",
    "encoder_norm.": "encoder.final_layer_norm.",
    "decoder_norm.": "decoder.final_layer_norm.",
}
_ATTENTION = {"q_proj": "q", "k_proj": "k", "v_proj": "v", "out_proj": "o", "distances": "relative_attention_bias"}
_MLP = {"up": "wi", "gate": "wi_0", "value": "wi_1", "down": "wo"}


class _T5Layout(Layout):
    """Layers of two stacks, whose parts are numbered in files."""

    def stored_name(self, name: str) -> str:
        """As `Layout` says."""
        found = re.fullmatch(r"(encoder|decoder)\.(\d+)\.(attention|cross|mlp)(?:_norm|\.(\w+))\.(\w+)", name)
        if found is None:
            return super().stored_name(name)
        stack, layer, part, inner, rest = found.groups()
        last = 1 if stack == "encoder" else 2
        place, theirs, names = {
            "attention": (0, "SelfAttention", _ATTENTION),
            "cross": (1, "EncDecAttention", _ATTENTION),
            "mlp": (last, "DenseReluDense", _MLP),
        }[part]
        within = "layer_norm" if inner is None else f"{theirs}.{names[inner]}"
        return f"{stack}.block.{layer}.layer.{place}.{within}.{rest}"


LAYOUT = _T5Layout(
    _read,
    _write,
    parts=_OUTER,
    # The first checkpoints also hold a table of distances for attention to the source, which has no use.
    redundant=r"(en|de)coder\.embed_tokens\.weight|lm_head\.weight"
    r"|decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",
    tie=("lm_head.weight", "shared.weight"),
    followed={*_FIELDS.values(), *_FIXED, *_DERIVED, *WRITTEN_KEYS},
)
