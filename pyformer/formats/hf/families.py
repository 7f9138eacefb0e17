"""The table of decoders: what each family of `transformers` has, and what its files call it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

OWN_TYPE = "pyformer_llama"
FULL, SLIDING = "full_attention", "sliding_attention"

# A field of the config, and its key in config.json.
KEYS = {
    "vocab_size": "vocab_size",
    "context_length": "max_position_embeddings",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "embed_dim": "hidden_size",
    "hidden_dim": "intermediate_size",
    "num_kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "tied": "tie_word_embeddings",
    "norm_epsilon": "rms_norm_eps",
    "dropout": "dropout",
    "bos_token_id": "bos_token_id",
    "eos_token_id": "eos_token_id",
}
OPTIONAL_KEYS = {
    *("num_key_value_heads", "head_dim", "tie_word_embeddings", "rms_norm_eps", "dropout"),
    *("bos_token_id", "eos_token_id"),
}


def _full(owner: str, said: Mapping[str, Any], window: int | None) -> list[str]:
    return [FULL] * said["num_hidden_layers"]


def _last(owner: str, said: Mapping[str, Any], window: int | None) -> list[str]:
    """Qwen: from layer max_window_layers on."""
    first = _count(owner, "max_window_layers", said["max_window_layers"], 0)
    return [_kind(window is not None and layer >= first) for layer in range(said["num_hidden_layers"])]


def _between(owner: str, said: Mapping[str, Any], window: int | None) -> list[str]:
    """Gemma: all but each so-many-th."""
    pattern = said.get("_sliding_window_pattern", said.get("sliding_window_pattern"))
    pattern = _count(owner, "sliding_window_pattern", pattern, 1)
    return [_kind((layer + 1) % pattern != 0) for layer in range(said["num_hidden_layers"])]


def _but_each(owner: str, said: Mapping[str, Any], window: int | None) -> list[str]:
    """ModernBERT: all but the first and each so-many-th after it."""
    pattern = _count(owner, "global_attn_every_n_layers", said["global_attn_every_n_layers"], 1)
    return [_kind(layer % pattern != 0) for layer in range(said["num_hidden_layers"])]


def _turned(owner: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """SmolLM 3: where no_rope_layers isn't said, positions don't turn each so-many-th layer."""
    if said.get("no_rope_layers") is not None:
        return {}
    interval = _count(owner, "no_rope_layer_interval", said["no_rope_layer_interval"], 1)
    return {"no_rope_layers": [int((layer + 1) % interval != 0) for layer in range(said["num_hidden_layers"])]}


def _unturned(owner: str, said: Mapping[str, Any], window: int | None) -> list[str]:
    """SmolLM 3: those whose queries and keys are not turned."""
    turned = said.get("no_rope_layers")
    if not isinstance(turned, list):
        raise ValueError(f"{owner}: no_rope_layers must be a list of 0 and 1, got {turned!r}")
    return [_kind(window is not None and not each) for each in turned]


def _count(owner: str, key: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{owner}: {key} must be an int of at least {least}, got {value!r}")
    return value


def _kind(slides: bool) -> str:
    return SLIDING if slides else FULL


@dataclass(frozen=True)
class Family:
    """One `model_type`.

    `settings` are fields of the config that config.json doesn't say, `keys` those that it says beside KEYS. `defaults`
    are what `transformers` takes for keys that aren't there, `fixed` keys with the values that they may have, `known`
    further keys that change nothing. `windows` says which layers have one: "none", "all", "types" by `layer_types`,
    "some" likewise where `use_sliding_window`, "sides" likewise with `local_attention`, of both sides together.
    `outer_names`, `names`, `stacked`, `bare` and `unused` are as in `Layout`.
    """

    architecture: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    known: tuple[str, ...] = ()
    windows: str = "none"
    layer_types: Callable[[str, Mapping[str, Any], int | None], list[str]] = _full
    derived: Callable[[str, Mapping[str, Any]], dict[str, Any]] = lambda owner, said: {}
    activation: str = "hidden_act"
    scales_embedding: bool = False
    rope_base: float = 10000.0
    local_rope_base: float | None = None
    rope_keys: tuple[str, str] = ("rope_theta", "rope_local_base_freq")
    partial_rotary: bool = False
    long: bool = False  # every scaling is longrope; original_max_position_embeddings is beside it
    outer_names: Mapping[str, str] = field(default_factory=dict)
    unused: str = "$^"
    bare: tuple[str, ...] = ("lm_head.",)
    names: Mapping[str, str] = field(default_factory=dict)
    stacked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def written(self) -> dict[str, tuple[Any, ...]]:
        """The fixed keys that are written."""
        return {key: values for key, values in self.fixed.items() if values[0] is not None}


_BIAS = {"qkv_bias": "attention_bias", "out_bias": "attention_bias"}
_SANDWICH = {
    "attention_output_norm.": "post_attention_layernorm.",
    "post_attention_layernorm.": "pre_feedforward_layernorm.",
    "mlp_output_norm.": "post_feedforward_layernorm.",
}
_GEMMA: dict[str, Any] = {
    "settings": {"norms": "sandwich", "centred_norms": True},
    "activation": "hidden_activation",
    "scales_embedding": True,
    "windows": "types",
    "layer_types": _between,
    "names": _SANDWICH,
    "known": ("hidden_act", "cache_implementation"),
}
_GEMMA_KEYS = {**_BIAS, "attention_scale": "query_pre_attn_scalar", "logit_softcap": "final_logit_softcapping"}
_GEMMA_DEFAULTS = {
    "num_key_value_heads": 4,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "tie_word_embeddings": True,
    "bos_token_id": 2,
    "eos_token_id": 1,
}
_QWEN: dict[str, Any] = {
    "windows": "some",
    "layer_types": _last,
}
_QWEN_DEFAULTS = {"num_key_value_heads": 32, "sliding_window": 4096, "max_window_layers": 28}

FAMILIES = {
    "llama": Family("LlamaForCausalLM", keys={**_BIAS, "mlp_bias": "mlp_bias"}, fixed={"sliding_window": (None,)}),
    "mistral": Family(
        "MistralForCausalLM",
        defaults={"num_key_value_heads": 8, "sliding_window": 4096},
        fixed={"attention_bias": (False,), "mlp_bias": (False,)},
        windows="all",
    ),
    # Only this family of our own has positions that are not rotary.
    OWN_TYPE: Family(
        "pyformer.models.Llama",
        keys={**_BIAS, "mlp_bias": "mlp_bias", "positions": "positions"},
        windows="all",
    ),
    "qwen2": Family("Qwen2ForCausalLM", settings={"qkv_bias": True}, defaults=_QWEN_DEFAULTS, **_QWEN),
    "qwen3": Family(
        "Qwen3ForCausalLM",
        settings={"qk_norm": "head"},
        keys=_BIAS,
        defaults={**_QWEN_DEFAULTS, "head_dim": 128},
        **_QWEN,
    ),
    "smollm3": Family(
        "SmolLM3ForCausalLM",
        keys={**_BIAS, "mlp_bias": "mlp_bias", "rope_layers": "no_rope_layers"},
        defaults={"num_key_value_heads": 4, "tie_word_embeddings": True, "no_rope_layer_interval": 4},
        known=("no_rope_layer_interval",),
        derived=_turned,
        windows="some",
        layer_types=_unturned,
        rope_base=2000000.0,
    ),
    "gemma2": Family(
        "Gemma2ForCausalLM",
        keys={**_GEMMA_KEYS, "attention_softcap": "attn_logit_softcapping"},
        defaults={
            **_GEMMA_DEFAULTS,
            "sliding_window_pattern": 2,
            "final_logit_softcapping": 30.0,
            "attn_logit_softcapping": 50.0,
        },
        fixed={"use_bidirectional_attention": (None, False)},
        **_GEMMA,
    ),
    "gemma3_text": Family(
        "Gemma3ForCausalLM",
        keys=_GEMMA_KEYS,
        defaults={**_GEMMA_DEFAULTS, "sliding_window_pattern": 6},
        fixed={"use_bidirectional_attention": (False, None), "attn_logit_softcapping": (None,)},
        rope_base=1000000.0,
        local_rope_base=10000.0,
        **{**_GEMMA, "settings": {**_GEMMA["settings"], "qk_norm": "head"}},
    ),
    "olmo2": Family(
        "Olmo2ForCausalLM",
        settings={"norms": "post", "qk_norm": "width"},
        keys=_BIAS,
        defaults={"rms_norm_eps": 1e-5},
        names={
            "attention_output_norm.": "post_attention_layernorm.",
            "mlp_output_norm.": "post_feedforward_layernorm.",
        },
    ),
    "granite": Family(
        "GraniteForCausalLM",
        keys={
            **_BIAS,
            "mlp_bias": "mlp_bias",
            "attention_scale": "attention_multiplier",
            "embed_scale": "embedding_multiplier",
            "residual_scale": "residual_multiplier",
            "logit_divisor": "logits_scaling",
        },
        defaults={"attention_multiplier": 1.0},
    ),
    # Phi-4-mini has this model_type, too.
    "phi3": Family(
        "Phi3ForCausalLM",
        defaults={"rms_norm_eps": 1e-5},
        fixed={"attention_bias": (False,), "mlp_bias": (False,)},
        windows="all",
        partial_rotary=True,
        long=True,
        stacked={
            "self_attn.qkv_proj.": ("self_attn.q_proj.", "self_attn.k_proj.", "self_attn.v_proj."),
            "mlp.gate_up_proj.": ("mlp.gate_proj.", "mlp.up_proj."),
        },
    ),
    # An encoder: `ModernBertModel`, or what is below the head of a model that has one.
    "modernbert": Family(
        "ModernBertModel",
        settings={"causal": False, "norm_kind": "layer", "first_norm": False},
        keys={**_BIAS, "mlp_bias": "mlp_bias", "norm_epsilon": "norm_eps"},
        defaults={
            "norm_eps": 1e-5,
            "hidden_activation": "gelu",
            "local_attention": 128,
            "global_attn_every_n_layers": 3,
            "tie_word_embeddings": True,
        },
        # ModernBERT's rope_scaling would apply to its local and its global layers; that is not supported.
        fixed={"norm_bias": (False,), "rope_scaling": (None,)},
        known=(
            *("decoder_bias", "classifier_pooling", "classifier_dropout", "classifier_bias", "classifier_activation"),
            *("deterministic_flash_attn", "sparse_prediction", "sparse_pred_ignore_index", "reference_compile"),
            *("cls_token_id", "initializer_cutoff_factor", "repad_logits_with_grad", "layer_norm_eps"),
            *("position_embedding_type", "local_attention", "global_attn_every_n_layers"),
        ),
        windows="sides",
        layer_types=_but_each,
        activation="hidden_activation",
        rope_base=160000.0,
        local_rope_base=10000.0,
        rope_keys=("global_rope_theta", "local_rope_theta"),
        bare=("",),
        unused=r"(head|decoder|classifier)\..*",
        outer_names={
            "embed_tokens.": "embeddings.tok_embeddings.",
            "embed_norm.": "embeddings.norm.",
            "norm.": "final_norm.",
        },
        names={
            "input_layernorm.": "attn_norm.",
            "self_attn.o_proj.": "attn.Wo.",
            "post_attention_layernorm.": "mlp_norm.",
            "mlp.down_proj.": "mlp.Wo.",
        },
        stacked={
            "attn.Wqkv.": ("self_attn.q_proj.", "self_attn.k_proj.", "self_attn.v_proj."),
            "mlp.Wi.": ("mlp.gate_proj.", "mlp.up_proj."),
        },
    ),
}
