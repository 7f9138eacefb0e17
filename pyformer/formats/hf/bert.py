"""BERT: `transformers`' BertModel, and BertForSequenceClassification on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
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

CLASSIFIER = "BertForSequenceClassification"

_FIELDS = {
    "vocab_size": "vocab_size",
    "context_length": "max_position_embeddings",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "embed_dim": "hidden_size",
    "hidden_dim": "intermediate_size",
    "num_segments": "type_vocab_size",
    "dropout": "hidden_dropout_prob",
    "layer_norm_epsilon": "layer_norm_eps",
}
_REQUIRED = [_FIELDS[name] for name in ("vocab_size", "context_length", "num_layers", "num_heads", "embed_dim")]
_FIXED = {
    "model_type": "bert",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
}
_KNOWN = {"hidden_act", "attention_probs_dropout_prob", "classifier_dropout", "tie_word_embeddings"}


def _read(cls: Any, values: Mapping[str, Any]) -> Any:
    check_config("BERT", values, fixed=_FIXED, required=_REQUIRED, known={*_FIELDS.values(), *_KNOWN, *LABEL_KEYS})
    activation = read_activation("BERT", "hidden_act", values.get("hidden_act", "gelu"))
    found = {ours: values[theirs] for ours, theirs in _FIELDS.items() if theirs in values}
    config = cls.config_class(**found, activation=activation, **read_labels("BERT", values, "num_labels"))
    warn_of_dropout("BERT", values, attention_probs_dropout_prob=0.0, classifier_dropout=config.dropout)
    return config


def _write(model: Any, architecture: str = "BertModel") -> dict[str, Any]:
    config = model.config
    return {
        "architectures": [architecture],
        "model_type": "bert",
        **{theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()},
        "hidden_act": OUR_ACTIVATIONS[config.activation],
        "attention_probs_dropout_prob": 0.0,
        **write_labels(config.num_labels, config),
    }


_HEADS = r"cls\..*"
ENCODER_LAYOUT = Layout(
    _read,
    _write,
    prefix="bert.",
    bare=("",),
    parts={
        "tokens.": "embeddings.word_embeddings.",
        "positions.": "embeddings.position_embeddings.",
        "segments.": "embeddings.token_type_embeddings.",
        "norm.": "embeddings.LayerNorm.",
        "pooler.": "pooler.dense.",
    },
    layers=("layers.", "encoder.layer."),
    layer_parts={
        "attention.q_proj.": "attention.self.query.",
        "attention.k_proj.": "attention.self.key.",
        "attention.v_proj.": "attention.self.value.",
        "attention.out_proj.": "attention.output.dense.",
        "attention_norm.": "attention.output.LayerNorm.",
        "mlp.up.": "intermediate.dense.",
        "mlp.down.": "output.dense.",
        "mlp_norm.": "output.LayerNorm.",
    },
    redundant=r"embeddings\.position_ids",
    unused=rf"{_HEADS}|classifier\..*",
    followed={*_FIELDS.values(), *_FIXED, *WRITTEN_KEYS, *LABEL_KEYS, "hidden_act"},
)
CLASSIFIER_LAYOUT = replace(
    ENCODER_LAYOUT,
    write=lambda model: _write(model, CLASSIFIER),
    bare=("classifier.",),
    inner="bert.",
    unused=_HEADS,
)
