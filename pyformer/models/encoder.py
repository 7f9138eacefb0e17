"""An encoder of the same blocks as the decoders: every token sees every other, or those near it.

ModernBERT: Warner et al. 2024, "Smarter, Better, Faster, Longer". Files are those of Hugging Face's ModernBertModel;
those of models with a head on it open, too, without the head.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: F401 - typing.get_type_hints looks for the types of inherited settings here
from dataclasses import dataclass
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import formats, nn
from pyformer.formats.hf import decoder
from pyformer.models.decoder import Block, initialise, norm_of
from pyformer.models.decoder_config import DecoderConfig
from pyformer.models.inputs import read_ids, read_lengths
from pyformer.models.language_model import Span
from pyformer.models.places import kinds_of, places_of
from pyformer.models.pretrained import Pretrained
from pyformer.nn.attention import within_lengths


@dataclass(frozen=True)
class EncoderConfig(DecoderConfig):
    """The shape of an Encoder: a `DecoderConfig` whose defaults are ModernBERT's.

    Args:
        vocab_size, context_length, num_layers, num_heads, embed_dim: as in `GPTConfig`.

    The others are those of `DecoderConfig`. `window` counts the tokens to each side, the one itself included.

    Raises:
        ValueError: a value makes no model.
        TypeError: a value is of the wrong type.

    Example:
        >>> config = pf.models.EncoderConfig(100, 32, num_layers=2, num_heads=2, embed_dim=16)
        >>> config.layers[0].causal, config.layers[0].input_norm
        (False, False)
    """

    family: str = "modernbert"
    tied: bool = True
    norm_epsilon: float = 1e-5
    rope_base: float = 160000.0
    window: int | None = 65
    local_rope_base: float | None = 10000.0
    activation: str = "gelu"
    causal: bool = False
    norm_kind: str = "layer"
    first_norm: bool = False

    def __post_init__(self) -> None:
        if self.layer_types is None and isinstance(self.num_layers, int):
            kinds = tuple(decoder.SLIDING if i % 3 else decoder.FULL for i in range(min(self.num_layers, 10_000)))
            object.__setattr__(self, "layer_types", kinds)
        super().__post_init__()


class Encoder(Pretrained):
    """An encoder with rotary positions, windows and gated MLPs; (B, T) ids give (B, T, C).

    Freshly initialised from `pf.manual_seed`'s stream, float32. Its folders are those of Hugging Face's
    ModernBertModel.

    Args:
        config: an EncoderConfig.

    Raises:
        TypeError: config is no EncoderConfig; later, ids are no integers.
        ValueError: later, a text exceeds the context length, or a shape does not fit.
        IndexError: later, an id is not in [0, V).

    Source: Warner et al. 2024, "Smarter, better, faster, longer".

    Example:
        >>> model = pf.models.Encoder(pf.models.EncoderConfig(100, 32, num_layers=2, num_heads=2, embed_dim=16))
        >>> model([[5, 6, 7]]).shape
        (1, 3, 16)
    """

    config_class = EncoderConfig

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.layout = decoder.checked_layout(config)
        layers = config.layers
        self._seen, self._sees = kinds_of(layers)
        with nn.init.skip():
            self.embed_tokens = nn.Embedding(config.vocab_size, config.embed_dim)
            self.embed_norm = norm_of(config)
            self.dropout = nn.Dropout(config.dropout)
            self.layers = nn.ModuleList(Block(config, layer) for layer in layers)
            self.norm = norm_of(config)
        initialise(self)

    @classmethod
    def layout_of(cls, values: dict[str, Any]) -> formats.Layout:
        return decoder.layout_of(cls.__name__, values.get("model_type"))

    def forward(self, ids: Any, lengths: Any = None, *, return_weights: bool = False) -> Any:
        """Each token in its context, (B, T, C).

        Args:
            ids: integers (B, T): a Tensor, NumPy array or nested list.
            lengths: tokens of each row that count, (B,); the rest is padding on the right, of no meaning.
            return_weights: give (result, list of the attention weights (B, H, T, T) of each layer).

        Raises:
            ValueError: T is 0 or exceeds the context length, or a shape is wrong.
            TypeError: ids or lengths are not integers.
            IndexError: an id is out of range.
        """
        ids = read_ids("Encoder", ids, self.config.context_length, self.embed_tokens.device)
        span = self._span(ids, lengths)
        x = within_lengths(self.embed_tokens(ids), span.reach["key_lengths"])
        x = self.dropout(self.embed_norm(x))
        places = [places_of(self.config, span, *kind, like=self.embed_tokens) for kind in self._seen]
        weights: list[pf.Tensor] | None = [] if return_weights else None
        for i, layer in enumerate(self.layers):
            x = layer(x, places[self._sees[i]], weights)
        x = self.norm(x)
        return (x, weights) if return_weights else x

    def _span(self, ids: pf.Tensor, lengths: Any) -> Span:
        batch, tokens = ids.shape
        places = np.arange(tokens, dtype=np.int64)[None]
        reach: dict[str, Any] = {"causal": False, "key_lengths": None, "query_offset": None}
        counts = np.array([tokens])
        if lengths is not None:
            counts = read_lengths("Encoder", lengths, batch, tokens)
            reach["key_lengths"] = pf.tensor(counts, device=ids.device)
            reach["query_offset"] = pf.tensor(np.zeros_like(counts), device=ids.device)
        return Span(places, pf.tensor(places[0], device=ids.device), tokens, counts, reach)
