"""T5: Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer" (2020).

An encoder and a decoder whose attention knows positions by distance alone: a table of biases, shared by the layers of
a stack. T5, T5 v1.1, Flan-T5 and mT5 are of this kind. Files are those of Hugging Face's T5ForConditionalGeneration.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

import pyformer as pf
from pyformer import formats, nn
from pyformer.formats.folder import GENERATION_NAME
from pyformer.formats.hf import t5
from pyformer.generation.generate import said_of_generation
from pyformer.models.config import Config
from pyformer.models.encoder_decoder import EncoderDecoder
from pyformer.models.pretrained import Pretrained
from pyformer.models.t5_block import T5Block
from pyformer.models.translation import translate
from pyformer.nn.layers import check_eps
from pyformer.nn.transformer import check_activation


@dataclass(frozen=True)
class T5Config(Config):
    """The shape of a T5.

    Args:
        vocab_size, num_heads, embed_dim: as in `GPTConfig`.
        num_layers: of the encoder.
        hidden_dim: of the MLPs, 4 embed_dim by default.
        head_dim: width of a head; embed_dim / num_heads by default.
        num_decoder_layers: num_layers by default.
        num_buckets: how many groups of distances have a bias each.
        max_distance: from this one on, all distances are one group.
        dropout: probability, on the embeddings, on what each part adds and on what each stack gives.
        norm_epsilon: added to mean squares.
        activation: "gelu", "gelu_tanh", "relu", "silu", "tanh" or "sigmoid".
        gated: whether the activation multiplies a second map, as in T5 v1.1; "gelu" is not to be had then.
        tied: whether the last projection is the embedding.
        scaled: whether what the last projection sees is divided by sqrt(embed_dim), as in the first T5.
        bos_id, eos_id: the tokens that start and end a target; T5 starts with that of padding.
        family: "t5" or "mt5", which has no scaled logits.

    Raises:
        ValueError: a value makes no model.
        TypeError: a value is of the wrong type.

    Example:
        >>> pf.models.T5Config(100, num_layers=1, num_heads=2, embed_dim=16).head_dim
        8
    """

    vocab_size: int
    num_layers: int
    num_heads: int
    embed_dim: int
    hidden_dim: int = 0
    head_dim: int | None = None
    num_decoder_layers: int | None = None
    num_buckets: int = 32
    max_distance: int = 128
    dropout: float = 0.1
    norm_epsilon: float = 1e-6
    activation: str = "relu"
    gated: bool = False
    tied: bool = True
    scaled: bool = True
    bos_id: int = 0
    eos_id: int = 1
    family: str = "t5"

    # T5 knows positions by their distances only, which have no upper limit.
    context_length: ClassVar[int] = 2**31 - 1

    def __post_init__(self) -> None:
        self._default_hidden_dim()
        self._check_sizes("vocab_size", "num_layers", "num_heads", "embed_dim", "hidden_dim")
        if self.head_dim is None:
            self._check_divides("num_heads", "embed_dim")
        self._default("head_dim", self.embed_dim // self.num_heads)
        self._default("num_decoder_layers", self.num_layers)
        self._check_sizes("head_dim", "num_decoder_layers", "num_buckets", "max_distance")
        if self.num_buckets < 4 or self.num_buckets % 2:
            raise ValueError(f"T5Config: num_buckets must be even and at least 4, got {self.num_buckets}")
        if self.max_distance <= self.num_buckets // 2:
            raise ValueError(
                f"T5Config: max_distance must be above num_buckets / 2 ({self.num_buckets // 2}), "
                f"got {self.max_distance}"
            )
        self._check_probability("dropout")
        check_eps("T5Config", self.norm_epsilon)
        check_activation("T5Config", self.activation)
        for name in ("gated", "tied", "scaled"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"T5Config: {name} must be a bool, got {type(getattr(self, name)).__name__}")
        if self.gated and self.activation == "gelu":
            raise ValueError("T5Config: activation must not be 'gelu' where gated, got 'gelu'; T5's is 'gelu_tanh'")
        self._check_one_of("family", t5.T5_TYPES)
        if self.scaled and self.family == "mt5":
            raise ValueError("T5Config: scaled must be False for family 'mt5', got True")
        self._check_ids("bos_id", "eos_id")


class T5(EncoderDecoder):
    """An encoder of a source and a decoder that writes a target, with positions by distance.

    Freshly initialised from `pf.manual_seed`'s stream, float32. It is called, trained and translates as an
    `EncoderDecoder`, with texts of any length. Its folders are those of Hugging Face's T5ForConditionalGeneration and
    MT5ForConditionalGeneration.

    Args:
        config: a T5Config.

    Raises:
        TypeError: config is no T5Config; later, ids are no integers.
        ValueError: later, a shape does not fit.
        IndexError: later, an id is not in [0, V).

    Source: Raffel et al. 2020, "Exploring the limits of transfer learning with a unified text-to-text transformer".

    Example:
        >>> model = pf.models.T5(pf.models.T5Config(20, num_layers=1, num_heads=2, embed_dim=8))
        >>> model([[5, 6, 7]], [[0, 8]]).shape, model.loss([[5, 6, 7]], [[0, 8, 1]]).shape
        ((1, 2, 20), ())
    """

    model_type = "t5"
    config_class = T5Config
    layout = t5.LAYOUT
    generation_keys = ("decoder_start_token_id", "max_new_tokens", "max_length")

    def __init__(self, config: T5Config) -> None:
        Pretrained.__init__(self, config)  # not EncoderDecoder's: T5 is made of other parts
        width, eps = config.embed_dim, config.norm_epsilon
        with nn.init.skip():
            self.tokens = nn.Embedding(config.vocab_size, width)
            self.dropout = nn.Dropout(config.dropout)
            self.encoder, self.decoder = (
                nn.ModuleList(T5Block(config, decodes=decodes, first=i == 0) for i in range(layers))
                for decodes, layers in ((False, config.num_layers), (True, config.num_decoder_layers))
            )
            self.encoder_norm, self.decoder_norm = nn.RMSNorm(width, eps=eps), nn.RMSNorm(width, eps=eps)
            self.lm_head = None if config.tied else nn.Linear(width, config.vocab_size, bias=False)
        self._initialise()

    def _initialise(self) -> None:
        """Matrices normal with 1 / sqrt of what they sum up, those of queries smaller for the scale that isn't there;
        embeddings with 1."""
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                scale = self.config.head_dim if name.endswith("q_proj.weight") else 1
                summed = self.config.embed_dim if name.endswith("distances.weight") else parameter.shape[1]
                nn.init.normal_(parameter, std=1.0 if name == "tokens.weight" else (summed * scale) ** -0.5)

    @property
    def head(self) -> nn.Projection:
        """The last projection."""
        return self.tokens if self.lm_head is None else self.lm_head

    def encode(self, source: Any, lengths: Any = None, weights: Any = None) -> tuple[pf.Tensor, pf.Tensor | None]:
        """As `EncoderDecoder.encode` says."""
        x, lengths = super().encode(source, lengths, weights)
        return self.dropout(x), lengths

    def embed(self, ids: pf.Tensor, positions: np.ndarray) -> pf.Tensor:
        """The tokens' rows; positions are for the layers."""
        return self.tokens(ids)

    def score_bias(self, stack: nn.ModuleList, positions: np.ndarray, keys: int) -> pf.Tensor:
        """What is added to the scores of all layers of `stack`, (1, H, Tq, keys)."""
        return stack[0].attention.score_bias(positions, keys)

    def final(self, x: pf.Tensor) -> pf.Tensor:
        """The last normalisation and, where the config says so, the scale."""
        x = self.dropout(self.decoder_norm(x))
        return x * self.config.embed_dim**-0.5 if self.config.scaled else x

    def translate(
        self,
        source: Any,
        source_lengths: Any = None,
        *,
        max_new_tokens: int | None = None,
        beams: int | None = None,
        length_penalty: float | None = None,
        early_stopping: bool | str | None = None,
    ) -> list[list[int]]:
        """The likeliest target found for each row of `source`, as `transformers` finds it, without its start and end.

        What is None follows the generation_config.json that the model was opened with, where that says it
        (`max_new_tokens` or `max_length`, `num_beams`, `length_penalty`, `early_stopping`). Its
        `decoder_start_token_id` and `eos_token_id` come before those of config.json.

        Args:
            source, source_lengths: as in `forward`.
            max_new_tokens: the most tokens of a target, the end included; 512 by default.
            beams: how many beginnings are followed at once; 1, greedy, by default.
            length_penalty, early_stopping: of beams, as in `GPT.generate`.

        Raises as `forward` does, ValueError and TypeError for settings out of range, and ValueError where
        generation_config.json says to sample or has a repetition penalty, which isn't done here.
        """
        file, said = self.generation_config or {}, said_of_generation(self)
        others = ["do_sample"] if file.get("do_sample") else []
        others += ["repetition_penalty"] if said.get("repetition_penalty", 1.0) != 1.0 else []
        if others:
            raise ValueError(f"{GENERATION_NAME}: T5.translate doesn't do what {' and '.join(others)} say")
        start, end = file.get("decoder_start_token_id"), said.get("eos_token_id", self.config.eos_id)
        start, ends = self.config.bos_id if start is None else start, {end} if isinstance(end, int) else set(end)
        if type(start) is not int or not 0 <= start < self.config.vocab_size:
            wanted = f"decoder_start_token_id must be in [0, {self.config.vocab_size})"
            raise ValueError(f"{GENERATION_NAME}: {wanted}, got {start!r}")
        if early_stopping not in (None, True, False, "never"):
            raise ValueError(f"T5: early_stopping must be True, False or 'never', got {early_stopping!r}")
        if max_new_tokens is None:
            most, whole = file.get("max_new_tokens"), file.get("max_length")
            max_new_tokens = most if most is not None else whole - 1 if type(whole) is int else 512
        found = translate(
            self,
            source,
            source_lengths,
            max_new_tokens,
            said.get("num_beams", 1) if beams is None else beams,
            said.get("length_penalty", 1.0) if length_penalty is None else length_penalty,
            start_id=start,
            end_id=ends,
            as_transformers=True,
            early_stopping=said.get("early_stopping", False) if early_stopping is None else early_stopping,
        )
        return [text[:-1] if text[-1] in ends else text for text in found]

    @classmethod
    def _untied(cls, config: T5Config, weights: formats.Weights) -> T5Config:
        """With a head of its own where the weights have one: what config.json says of it means the scale only."""
        return replace(config, tied=not weights.has_own_head())
