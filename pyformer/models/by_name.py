"""Language models by name and the sizes that they have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyformer.models.gpt import GPT, GPTConfig
from pyformer.models.kan import KANTransformer, KANTransformerConfig
from pyformer.models.language_model import LanguageModel
from pyformer.models.liquid import Liquid, LiquidConfig
from pyformer.models.llama import Llama, LlamaConfig
from pyformer.models.lstm import LSTM, LSTMConfig
from pyformer.models.mlp import MLPLanguageModel, MLPLanguageModelConfig
from pyformer.models.retnet import RetNet, RetNetConfig

# For each name: the class of the model, what makes its config, whether the config takes num_heads.
_KINDS: dict[str, tuple[Callable[[Any], LanguageModel], Callable[..., Any], bool]] = {
    "gpt": (GPT, GPTConfig, True),
    "llama": (Llama, lambda **sizes: LlamaConfig(**sizes, **_grouped(**sizes), tied=True), True),
    "lstm": (LSTM, lambda **sizes: LSTMConfig(**sizes, cell="lstm"), False),
    "gru": (LSTM, lambda **sizes: LSTMConfig(**sizes, cell="gru"), False),
    "retnet": (RetNet, RetNetConfig, True),
    "kan": (KANTransformer, KANTransformerConfig, True),
    "liquid": (Liquid, LiquidConfig, False),
    "mlp": (MLPLanguageModel, MLPLanguageModelConfig, False),
}
LANGUAGE_MODELS = tuple(_KINDS)


def has_heads(name: str) -> bool:
    """Whether a model of LANGUAGE_MODELS has attention or retention heads."""
    return _KINDS[name][2]


def language_config(name: str, *, num_heads: int, **sizes: Any) -> Any:
    """The config of a model of LANGUAGE_MODELS; those without heads take no notice of their number.

    Args:
        name: "gpt", "llama" (two heads of queries share one of keys and values, if their number is even), "lstm",
            "gru", "retnet", "kan", "liquid" or "mlp".
        num_heads: heads of a layer.
        sizes: vocab_size, context_length, num_layers, embed_dim, dropout, as in every config.

    Raises:
        TypeError, ValueError: the sizes make no such model.
    """
    _, config, heads = _KINDS[name]
    return config(**sizes, num_heads=num_heads) if heads else config(**sizes)


def language_model(name: str, config: Any) -> LanguageModel:
    """The model of a `language_config`, freshly initialised from `pf.manual_seed`'s stream, float32."""
    return _KINDS[name][0](config)


def _grouped(num_heads: int, embed_dim: int, **_: Any) -> dict[str, int]:
    return {"num_kv_heads": num_heads // 2 if num_heads % 2 == 0 else num_heads, "hidden_dim": 3 * embed_dim}
