"""The table of families in GGUF: which keys and names stand for which of Hugging Face's, as llama.cpp has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

# config.json's names of numbers, and GGUF's, without the family's name before them.
INTEGERS = {
    "max_position_embeddings": "context_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
}
REALS = {"rms_norm_eps": "attention.layer_norm_rms_epsilon", "rope_theta": "rope.freq_base"}
WINDOW = {"sliding_window": "attention.sliding_window"}
PATTERN = "attention.sliding_window_pattern"
POOLING = "pooling_type"
POOLINGS = {1: "mean", 2: "cls", 3: "last"}  # llama.cpp's numbers; 0 says that vectors of tokens are meant
TYPE_COUNT = "tokenizer.ggml.token_type_count"
SCALE = "attention.scale"
OUTER = {"token_embd": "embed_tokens", "output_norm": "norm", "output": "lm_head"}
_ATTENTION = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
}
_MLP = {"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
_HEAD_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
_LAYER = {"attn_norm": "input_layernorm", **_ATTENTION, "ffn_norm": "post_attention_layernorm", **_MLP}
_AFTER = {"post_attention_norm": "post_attention_layernorm", "post_ffw_norm": "post_feedforward_layernorm"}
_SANDWICH = {"attn_norm": "input_layernorm", **_ATTENTION, "ffn_norm": "pre_feedforward_layernorm", **_AFTER, **_MLP}
_SILU = {"hidden_act": "silu"}
_GEMMA = {"hidden_activation": "gelu_pytorch_tanh"}


@dataclass(frozen=True)
class Family:
    """One `general.architecture`.

    `model_type` is config.json's, `also` are others that are written as this one. `integers` and `floats` are numbers
    of the whole model, `more` and `reals` those that it has besides, `needed` those of them without which another value
    would be meant, `derived` those that follow from the others. `outer` and `layer` are names of tensors, after
    `layers` and a number within a layer; `rotary` says that positions turn queries and keys. `fixed` is what
    config.json must say to be written at all, where it says it. `permuted` says that the rows of q and k are in the
    order of interleaved rotary positions, `centred` that norms hold 1 + weight. `stacked` are tensors that hold several
    of ours, and what Hugging Face calls them. `pattern`: all layers but each so-many-th have the window. `wide_layers`:
    so many layers mean that scores are scaled by the width of a head of the embedding, not by that of a head.
    """

    model_type: str
    permuted: bool = False
    also: tuple[str, ...] = ()
    more: Mapping[str, str] = field(default_factory=dict)
    reals: Mapping[str, str] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=lambda: _SILU)
    integers: Mapping[str, str] = field(default_factory=lambda: INTEGERS)
    floats: Mapping[str, str] = field(default_factory=lambda: REALS)
    derived: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda values: {}
    outer: Mapping[str, str] = field(default_factory=lambda: OUTER)
    layers: str = "layers."
    layer: Mapping[str, str] = field(default_factory=lambda: _LAYER)
    rotary: bool = True
    stacked: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    centred: bool = False
    pattern: int | None = None
    wide_layers: int | None = None
    stacks: Mapping[str, tuple[str, Mapping[str, str]]] = field(default_factory=dict)  # instead of layers and layer
    sizes: Mapping[str, str] = field(default_factory=dict)  # numbers that the rows of a tensor say
    flags: Mapping[str, bool] = field(default_factory=dict)  # what a file must say where it says it
    copies: Mapping[str, str] = field(default_factory=dict)  # keys of integers that repeat another
    silent: tuple[str, ...] = ()  # keys that say nothing new
    told: Mapping[str, Any] = field(default_factory=dict)  # what config.json says of all of them
    gated: Family | None = None  # of models whose MLPs have a gate
    sides: int | None = None  # each so-many-th layer from the first sees all, others a window to both sides
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # a setting that is a key, too, and its words
    unturned: int | None = None  # positions don't turn each so-many-th layer
    partial: bool = False  # rope.dimension_count may be less than a head

    def tables(self) -> Mapping[str, tuple[str, Mapping[str, str]]]:
        """What stands before a layer's number there and here, and the names of tensors within a layer."""
        return self.stacks or {"blk.": (self.layers, self.layer)}


def _t5_stacks(up: Mapping[str, str]) -> dict[str, tuple[str, dict[str, str]]]:
    """The tables of T5's encoder and decoder, whose MLPs have these maps beside the last."""

    def attention(prefix: str, place: str, kind: str) -> dict[str, str]:
        inner = {"q": "q", "k": "k", "v": "v", "o": "o", "rel_b": "relative_attention_bias"}
        names = {f"{prefix}attn_{name}": f"{place}.{kind}.{stored}" for name, stored in inner.items()}
        return names | {f"{prefix}attn_norm": f"{place}.layer_norm"}

    def mlp(place: str) -> dict[str, str]:
        names = {name: f"{place}.DenseReluDense.{stored}" for name, stored in {**up, "ffn_down": "wo"}.items()}
        return {**names, "ffn_norm": f"{place}.layer_norm"}

    own, other = attention("", "layer.0", "SelfAttention"), attention("cross_", "layer.1", "EncDecAttention")
    return {
        "enc.blk.": ("encoder.block.", {**own, **mlp("layer.1")}),
        "dec.blk.": ("decoder.block.", {**own, **other, **mlp("layer.2")}),
    }


# llama.cpp's T5 has the largest distance that most have, and computes with GELU where there is a gate, else with ReLU.
_T5_FIXED = {"relative_attention_max_distance": 128, "feed_forward_proj": "relu"}
_T5_GATED = {**_T5_FIXED, "feed_forward_proj": "gated-gelu"}
_T5 = Family(
    "t5",
    also=("mt5",),
    integers={
        "n_positions": "context_length",
        "num_layers": "block_count",
        "num_decoder_layers": "decoder_block_count",
        "num_heads": "attention.head_count",
        "d_model": "embedding_length",
        "d_ff": "feed_forward_length",
        "d_kv": "attention.key_length",
        "relative_attention_num_buckets": "attention.relative_buckets_count",
        "decoder_start_token_id": "decoder_start_token_id",
    },
    floats={"layer_norm_epsilon": "attention.layer_norm_rms_epsilon"},
    copies={"attention.value_length": "d_kv"},
    silent=("attention.layer_norm_epsilon",),
    derived=lambda values: {"n_positions": 512, "scale_decoder_outputs": values.get("scale_decoder_outputs", False)},
    fixed=_T5_FIXED,
    told={"is_encoder_decoder": True, **_T5_FIXED},
    outer={
        "token_embd": "shared",
        "enc.output_norm": "encoder.final_layer_norm",
        "dec.output_norm": "decoder.final_layer_norm",
        "output": "lm_head",
    },
    stacks=_t5_stacks({"ffn_up": "wi"}),
    rotary=False,
)
_UNWINDOWED = {**_SILU, "use_sliding_window": False}
FAMILIES = {
    "gpt2": Family(
        "gpt2",
        integers={
            "n_positions": "context_length",
            "n_layer": "block_count",
            "n_head": "attention.head_count",
            "n_embd": "embedding_length",
            "n_inner": "feed_forward_length",
        },
        floats={"layer_norm_epsilon": "attention.layer_norm_epsilon"},
        derived=lambda values: {"n_inner": 4 * values["n_embd"]},
        fixed={"activation_function": "gelu_new"},
        outer={"token_embd": "wte", "position_embd": "wpe", "output_norm": "ln_f", "output": "lm_head"},
        layers="h.",
        layer={
            "attn_norm": "ln_1",
            "attn_qkv": "attn.c_attn",
            "attn_output": "attn.c_proj",
            "ffn_norm": "ln_2",
            "ffn_up": "mlp.c_fc",
            "ffn_down": "mlp.c_proj",
        },
        rotary=False,
    ),
    "bert": Family(
        "bert",
        integers={name: key for name, key in INTEGERS.items() if name not in ("num_key_value_heads", "head_dim")},
        floats={"layer_norm_eps": "attention.layer_norm_epsilon"},
        sizes={"type_vocab_size": "token_types.weight"},
        flags={"attention.causal": False},
        fixed={"hidden_act": "gelu"},
        outer={
            "token_embd": "embeddings.word_embeddings",
            "position_embd": "embeddings.position_embeddings",
            "token_types": "embeddings.token_type_embeddings",
            "token_embd_norm": "embeddings.LayerNorm",
            "cls": "pooler.dense",
        },
        layers="encoder.layer.",
        layer={
            "attn_q": "attention.self.query",
            "attn_k": "attention.self.key",
            "attn_v": "attention.self.value",
            "attn_output": "attention.output.dense",
            "attn_output_norm": "attention.output.LayerNorm",
            "ffn_up": "intermediate.dense",
            "ffn_down": "output.dense",
            "layer_output_norm": "output.LayerNorm",
        },
        rotary=False,
    ),
    "llama": Family("llama", permuted=True, also=("mistral",), more=WINDOW),
    "qwen2": Family("qwen2", fixed=_UNWINDOWED),
    "qwen3": Family("qwen3", fixed=_UNWINDOWED, layer={**_LAYER, **_HEAD_NORMS}),
    "smollm3": Family("smollm3", permuted=True, fixed=_UNWINDOWED, unturned=4),
    "gemma2": Family(
        "gemma2",
        more=WINDOW,
        reals={
            "attn_logit_softcapping": "attn_logit_softcapping",
            "final_logit_softcapping": "final_logit_softcapping",
        },
        needed=("attn_logit_softcapping", "final_logit_softcapping", "sliding_window"),
        fixed=_GEMMA,
        layer=_SANDWICH,
        centred=True,
        pattern=2,
        wide_layers=46,
    ),
    "gemma3": Family(
        "gemma3_text",
        more=WINDOW,
        reals={"final_logit_softcapping": "final_logit_softcapping", "rope_local_base_freq": "rope.freq_base_swa"},
        needed=("sliding_window",),
        fixed=_GEMMA,
        layer={**_SANDWICH, **_HEAD_NORMS},
        centred=True,
        pattern=6,
        wide_layers=62,
    ),
    "modern-bert": Family(
        "modernbert",
        more={"local_attention": "attention.sliding_window"},
        floats={
            "norm_eps": "attention.layer_norm_epsilon",
            "global_rope_theta": "rope.freq_base",
            "local_rope_theta": "rope.freq_base_swa",
        },
        flags={"attention.causal": False},
        copies={"attention.value_length": "head_dim", "rope.dimension_count": "head_dim"},
        silent=("attention.layer_norm_rms_epsilon", PATTERN),
        fixed={"attention_bias": False, "mlp_bias": False},
        words={"hidden_activation": ("gelu", "silu")},
        outer={
            "token_embd": "embeddings.tok_embeddings",
            "token_embd_norm": "embeddings.norm",
            "output_norm": "final_norm",
            **{"cls": "head.dense", "cls.norm": "head.norm", "cls.output": "classifier"},
        },
        layer={
            "attn_norm": "attn_norm",
            "attn_qkv": "attn.Wqkv",
            "attn_output": "attn.Wo",
            "ffn_norm": "mlp_norm",
            "ffn_up": "mlp.Wi",
            "ffn_down": "mlp.Wo",
        },
        stacked={
            "attn_qkv": ("attn.Wqkv", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
            "ffn_up": ("mlp.Wi", ("mlp.gate_proj", "mlp.up_proj")),
        },
        rotary=False,
        sides=3,
    ),
    "olmo2": Family("olmo2", layer={**_ATTENTION, **_HEAD_NORMS, **_AFTER, **_MLP}),
    "granite": Family(
        "granite",
        permuted=True,
        reals={
            "attention_multiplier": SCALE,
            "embedding_multiplier": "embedding_scale",
            "residual_multiplier": "residual_scale",
            "logits_scaling": "logit_scale",
        },
    ),
    "phi3": Family(
        "phi3",
        more=WINDOW,
        layer={**_LAYER, "attn_qkv": "self_attn.qkv_proj", "ffn_up": "mlp.gate_up_proj"},
        stacked={
            "attn_qkv": ("self_attn.qkv_proj", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
            "ffn_up": ("mlp.gate_up_proj", ("mlp.gate_proj", "mlp.up_proj")),
        },
        partial=True,
    ),
    "t5": replace(
        _T5,
        gated=replace(
            _T5,
            fixed=_T5_GATED,
            told={**_T5.told, **_T5_GATED},
            stacks=_t5_stacks({"ffn_gate": "wi_0", "ffn_up": "wi_1"}),
        ),
    ),
}
