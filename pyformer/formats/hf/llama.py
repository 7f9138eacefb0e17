"""LLaMA and Mistral: `transformers`' LlamaForCausalLM and MistralForCausalLM; other positions are ours alone."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from pyformer.formats.hf.config import WRITTEN_KEYS, check_config
from pyformer.formats.layout import Layout

log = logging.getLogger(__name__)

_FIELDS = {
    "vocab_size": "vocab_size",
    "context_length": "max_position_embeddings",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "embed_dim": "hidden_size",
    "num_kv_heads": "num_key_value_heads",
    "hidden_dim": "intermediate_size",
    "head_dim": "head_dim",
    "window": "sliding_window",
    "tied": "tie_word_embeddings",
    "norm_epsilon": "rms_norm_eps",
    "dropout": "dropout",
    "bos_token_id": "bos_token_id",
    "eos_token_id": "eos_token_id",
}
_REQUIRED = [_FIELDS[name] for name in ("vocab_size", "context_length", "num_layers", "num_heads", "embed_dim")]
_FIXED = {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "attention_dropout": 0.0}
_KNOWN = {"rope_theta", "rope_scaling", "rope_parameters", "positions"}
_ROPE_KEYS = {
    *("rope_theta", "rope_type", "type", "factor", "low_freq_factor", "high_freq_factor"),
    "original_max_position_embeddings",
}
OWN_TYPE = "pyformer_llama"


def _read(cls: Any, values: Mapping[str, Any]) -> Any:
    kind = values.get("model_type")
    if kind not in ("llama", "mistral", OWN_TYPE):
        raise ValueError(f"Llama: model_type must be 'llama' or 'mistral', got {kind!r}")
    known = {*_FIELDS.values(), *_KNOWN}
    check_config("Llama", values, fixed=_FIXED, required=[*_REQUIRED, "intermediate_size"], known=known)
    found = {ours: values[theirs] for ours, theirs in _FIELDS.items() if theirs in values}
    if kind == "llama" and found.pop("window", None) is not None:
        log.warning("Llama: config.json says sliding_window, which is ignored: 'llama' has none, 'mistral' has")
    # What Hugging Face takes where nothing is said.
    found.setdefault("window", 4096 if kind == "mistral" else None)
    found.setdefault("num_kv_heads", 8 if kind == "mistral" else None)
    rope = dict(values.get("rope_parameters") or values.get("rope_scaling") or {})
    extra = sorted(set(rope) - _ROPE_KEYS)
    if extra:
        raise ValueError(f"Llama: rope_parameters or rope_scaling has unknown {extra}")
    base = rope.pop("rope_theta", values.get("rope_theta", 10000.0))
    scaling = rope if rope.get("rope_type", rope.get("type", "default")) != "default" else None
    positions = values.get("positions", "rotary") if kind == OWN_TYPE else "rotary"
    return cls.config_class(**found, positions=positions, rope_base=base, rope_scaling=scaling)


def _write(model: Any) -> dict[str, Any]:
    config = model.config
    kind, name = ("llama", "Llama") if config.window is None else ("mistral", "Mistral")
    values = {
        "architectures": [f"{name}ForCausalLM"],
        "model_type": kind,
        **{theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()},
        **_FIXED,
        "rope_theta": config.rope_base,
        "rope_scaling": None if config.rope_scaling is None else dict(config.rope_scaling),
    }
    if config.positions != "rotary":
        values |= {"architectures": ["pyformer.models.Llama"], "model_type": OWN_TYPE, "positions": config.positions}
    return values


LAYOUT = Layout(
    _read,
    _write,
    prefix="model.",
    bare=("lm_head.",),
    # The last projection repeats the embedding where they are tied.
    redundant=r"(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq|lm_head\.weight",
    tie=("lm_head.weight", "embed_tokens.weight"),
    followed={*_FIELDS.values(), *_FIXED, *_KNOWN, *WRITTEN_KEYS},
    ignored={"llama": ("sliding_window",)},
)
