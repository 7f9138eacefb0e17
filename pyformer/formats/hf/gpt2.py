"""GPT-2: `transformers`' GPT2LMHeadModel, whose linear weights are stored (in, out)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyformer.formats.hf.config import (
    OUR_ACTIVATIONS,
    WRITTEN_KEYS,
    check_config,
    read_activation,
    warn_of_dropout,
)
from pyformer.formats.layout import Layout

_FIELDS = {
    "vocab_size": "vocab_size",
    "context_length": "n_positions",
    "embed_dim": "n_embd",
    "num_layers": "n_layer",
    "num_heads": "n_head",
}
_OPTIONAL = {
    "layer_norm_epsilon": "layer_norm_epsilon",
    "dropout": "resid_pdrop",
    "bos_token_id": "bos_token_id",
    "eos_token_id": "eos_token_id",
    "tied": "tie_word_embeddings",
}
# Settings that change the computation, with the only value that is implemented.
_FIXED = {
    "model_type": "gpt2",
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}
_KNOWN = {
    *("n_ctx", "n_inner", "activation_function", "embd_pdrop", "attn_pdrop", "reorder_and_upcast_attn"),
    *("task_specific_params", "summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels"),
    *("summary_first_dropout", "output_past"),
}


def _read(cls: Any, values: Mapping[str, Any]) -> Any:
    required = ["model_type", *_FIELDS.values()]
    check_config("GPT", values, fixed=_FIXED, required=required, known={*_OPTIONAL.values(), *_KNOWN})
    found = {ours: values[theirs] for ours, theirs in {**_FIELDS, **_OPTIONAL}.items() if theirs in values}
    activation = read_activation("GPT", "activation_function", values.get("activation_function", "gelu_new"))
    config = cls.config_class(**found, activation=activation)
    if values.get("n_inner") not in (None, 4 * config.embed_dim):
        raise ValueError(f"GPT: n_inner must be {4 * config.embed_dim}, got {values['n_inner']!r}")
    warn_of_dropout("GPT", values, attn_pdrop=0.0, embd_pdrop=config.dropout)
    return config


def _write(model: Any) -> dict[str, Any]:
    config = model.config
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        **{theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()},
        "activation_function": OUR_ACTIVATIONS[config.activation],
        "layer_norm_epsilon": config.layer_norm_epsilon,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": 0.0,
        "tie_word_embeddings": config.tied,
        # `transformers` takes 50256 for a key that is missing, whatever the vocabulary.
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_id,
    }


LAYOUT = Layout(
    _read,
    _write,
    prefix="transformer.",
    bare=("lm_head.",),
    transposed=r"\.(c_attn|c_proj|c_fc)\.weight$",
    # Causal masks of old files, and the last projection, which repeats the embedding.
    redundant=r"lm_head\.weight|h\.\d+\.attn\.(bias|masked_bias)",
    tie=("lm_head.weight", "wte.weight"),
    followed={*_FIELDS.values(), *_OPTIONAL.values(), *_FIXED, *WRITTEN_KEYS, "activation_function"},
)
