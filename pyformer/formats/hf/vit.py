"""ViT: `transformers`' ViTForImageClassification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyformer.formats.hf.config import (
    LABEL_KEYS,
    OUR_ACTIVATIONS,
    WRITTEN_KEYS,
    check_config,
    read_activation,
    read_labels,
    warn_of_dropout,
    write_labels,
)
from pyformer.formats.layout import Layout

_FIELDS = {
    "image_size": "image_size",
    "patch_size": "patch_size",
    "num_channels": "num_channels",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "embed_dim": "hidden_size",
    "hidden_dim": "intermediate_size",
    "dropout": "hidden_dropout_prob",
    "layer_norm_epsilon": "layer_norm_eps",
}
_REQUIRED = [theirs for ours, theirs in _FIELDS.items() if ours not in ("hidden_dim", "dropout", "layer_norm_epsilon")]
_FIXED = {"model_type": "vit", "qkv_bias": True}
_KNOWN = {"hidden_act", "attention_probs_dropout_prob", "encoder_stride", "pooler_act", "pooler_output_size"}


def _read(cls: Any, values: Mapping[str, Any]) -> Any:
    check_config("ViT", values, fixed=_FIXED, required=_REQUIRED, known={*_FIELDS.values(), *_KNOWN, *LABEL_KEYS})
    activation = read_activation("ViT", "hidden_act", values.get("hidden_act", "gelu"))
    found = {ours: values[theirs] for ours, theirs in _FIELDS.items() if theirs in values}
    warn_of_dropout("ViT", values, attention_probs_dropout_prob=0.0)
    return cls.config_class(**found, activation=activation, **read_labels("ViT", values, "num_classes"))


def _write(model: Any) -> dict[str, Any]:
    config = model.config
    return {
        "architectures": ["ViTForImageClassification"],
        "model_type": "vit",
        **{theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()},
        "hidden_act": OUR_ACTIVATIONS[config.activation],
        "attention_probs_dropout_prob": 0.0,
        "qkv_bias": True,
        **write_labels(config.num_classes, config),
    }


LAYOUT = Layout(
    _read,
    _write,
    prefix="vit.",
    bare=("classifier.",),
    parts={
        "cls_token": "embeddings.cls_token",
        "positions": "embeddings.position_embeddings",
        "patches.": "embeddings.patch_embeddings.projection.",
        "norm.": "layernorm.",
    },
    layers=("layers.", "encoder.layer."),
    layer_parts={
        "attention_norm.": "layernorm_before.",
        "attention.q_proj.": "attention.attention.query.",
        "attention.k_proj.": "attention.attention.key.",
        "attention.v_proj.": "attention.attention.value.",
        "attention.out_proj.": "attention.output.dense.",
        "mlp_norm.": "layernorm_after.",
        "mlp.up.": "intermediate.dense.",
        "mlp.down.": "output.dense.",
    },
    unused=r"pooler\..*",
    followed={*_FIELDS.values(), *_FIXED, *WRITTEN_KEYS, *LABEL_KEYS, "hidden_act"},
)
