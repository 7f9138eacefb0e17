"""LLaMA: Touvron et al. (2023), and what its relatives choose differently: windows (Mistral) and other positions.

RMSNorm before each part, SwiGLU, grouped key heads; positions rotary (Su et al. 2021), ALiBi (Press et al. 2022),
sinusoidal or learned; a sliding window (Jiang et al., "Mistral 7B", 2023); a head of its own or the embedding's matrix.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: F401 - typing.get_type_hints looks for the types of inherited settings here
from dataclasses import dataclass
from typing import Any  # noqa: F401 - as above

from pyformer.formats.hf.decoder import OWN_TYPE
from pyformer.models.decoder import Decoder
from pyformer.models.decoder_config import DecoderConfig


@dataclass(frozen=True)
class LlamaConfig(DecoderConfig):
    """The shape of a model of the LLaMA family.

    Args:
        vocab_size, context_length, num_layers, num_heads, embed_dim: as in `GPTConfig`.
        num_kv_heads: heads of keys and values, num_heads by default.
        hidden_dim: of the MLP, 8/3 embed_dim to the next multiple of 32 by default.
        head_dim: embed_dim / num_heads by default.
        positions: "rotary", "alibi", "sinusoidal", "learned" or "none".
        rope_base, rope_scaling: as in `pf.ops.rope_frequencies`.
        window: how many tokens each one sees, itself included; None for all before it.
        tied: the embedding is the last projection, too.
        norm_epsilon: of RMSNorm.
        dropout: probability, on what each part of a block adds.
        bos_token_id, eos_token_id: kept for files and for `generate`'s callers; eos_token_id may be a list.

    What `DecoderConfig` has besides is there, too, as far as the family has it: biases, for example.

    Raises:
        ValueError: a value makes no model.
        TypeError: a value is of the wrong type.

    Example:
        >>> config = pf.models.LlamaConfig(65, 64, num_layers=2, num_heads=4, embed_dim=64, num_kv_heads=2)
        >>> config.head_dim, config.hidden_dim
        (16, 192)
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        is_mistral = self.window is not None or self.family == "mistral"
        family = OWN_TYPE if self.positions != "rotary" else "mistral" if is_mistral else "llama"
        object.__setattr__(self, "family", family)


class Llama(Decoder):
    """A language model of the LLaMA family: RMSNorm, SwiGLU, grouped heads, rotary or other positions.

    Freshly initialised from `pf.manual_seed`'s stream, float32. It is called, trained and generates as `GPT` does;
    where positions are rotary, its folders are those of Hugging Face's LlamaForCausalLM, and Mistral's open, too.

    Args:
        config: a LlamaConfig.

    Raises:
        TypeError: config is no LlamaConfig; later, ids are no integers.
        ValueError: later, a text exceeds the context length.
        IndexError: later, an id is not in [0, V).

    Source: Touvron et al. 2023, "LLaMA"; Su et al. 2021, "RoFormer"; Shazeer 2020, "GLU variants improve
    transformer".

    Example:
        >>> model = pf.models.Llama(pf.models.LlamaConfig(10, 8, num_layers=1, num_heads=2, embed_dim=8))
        >>> model([[1, 2, 3]]).shape
        (1, 3, 10)
    """

    config_class = LlamaConfig
