"""The transformer of 2017: Vaswani et al., "Attention Is All You Need".

An encoder reads the source; a decoder writes the target, each token seeing those before it and, by cross-attention,
the whole source. Sinusoidal positions, blocks that normalise after they add, one matrix for both embeddings and the
last projection. Translations come greedily or by beam search over a key-value cache.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import nn
from pyformer.float_mode import in_default_float_mode
from pyformer.models.config import Config
from pyformer.models.inputs import read_ids, read_int64, read_lengths
from pyformer.models.pretrained import Pretrained
from pyformer.models.translation import translate

IGNORED = -100


@dataclass(frozen=True)
class EncoderDecoderConfig(Config):
    """The shape of an EncoderDecoder.

    Args:
        vocab_size, context_length, num_heads, embed_dim: as in `GPTConfig`.
        num_layers: of the encoder, and of the decoder.
        hidden_dim: of the MLPs, 4 embed_dim by default.
        dropout: probability.
        norm_first: normalise before each part, and once at the end of both stacks, instead of after each part.
        bos_id, eos_id: the tokens that start and end a target.

    Raises:
        ValueError: a value makes no model.
        TypeError: a value is of the wrong type.

    Example:
        >>> pf.models.EncoderDecoderConfig(100, 16, num_layers=1, num_heads=2, embed_dim=16).hidden_dim
        64
    """

    vocab_size: int
    context_length: int
    num_layers: int
    num_heads: int
    embed_dim: int
    hidden_dim: int = 0
    dropout: float = 0.1
    norm_first: bool = False
    bos_id: int = 0
    eos_id: int = 1

    def __post_init__(self) -> None:
        self._default_hidden_dim()
        self._check_sizes("vocab_size", "context_length", "num_layers", "num_heads", "embed_dim", "hidden_dim")
        if self.embed_dim % self.num_heads or self.embed_dim % 2:
            raise ValueError(
                f"EncoderDecoderConfig: embed_dim must be even and a multiple of num_heads ({self.num_heads}), "
                f"got {self.embed_dim}"
            )
        self._check_probability("dropout")
        self._check_ids("bos_id", "eos_id")


class EncoderDecoder(Pretrained):
    """The transformer of the first paper: an encoder of a source, a decoder that writes a target.

    Freshly initialised from `pf.manual_seed`'s stream, float32. `translate` searches greedily or by a beam.

    Args:
        config: an EncoderDecoderConfig.

    Raises:
        TypeError: config is no EncoderDecoderConfig; later, ids are no integers.
        ValueError: later, a text exceeds the context length, or a shape does not fit.
        IndexError: later, an id is not in [0, V).

    Source: Vaswani et al. 2017, "Attention Is All You Need".

    Example:
        >>> config = pf.models.EncoderDecoderConfig(20, 16, num_layers=1, num_heads=2, embed_dim=8)
        >>> model = pf.models.EncoderDecoder(config)
        >>> model([[5, 6, 7]], [[0, 8]]).shape, model.loss([[5, 6, 7]], [[0, 8, 1]]).shape
        ((1, 2, 20), ())
    """

    model_type = "pyformer_encoder_decoder"
    config_class = EncoderDecoderConfig

    def __init__(self, config: EncoderDecoderConfig) -> None:
        super().__init__(config)
        with nn.init.skip():
            self.tokens = nn.Embedding(config.vocab_size, config.embed_dim)
            self.dropout = nn.Dropout(config.dropout)
            self.encoder = self._stack()
            self.decoder = self._stack(causal=True, cross_attention=True)
            self.encoder_norm = nn.LayerNorm(config.embed_dim) if config.norm_first else None
            self.decoder_norm = nn.LayerNorm(config.embed_dim) if config.norm_first else None
        self._initialise()

    def _stack(self, **options: Any) -> nn.ModuleList:
        config = self.config
        return nn.ModuleList(
            nn.TransformerBlock(
                config.embed_dim,
                config.num_heads,
                hidden_dim=config.hidden_dim,
                activation="relu",
                norm_first=config.norm_first,
                dropout=config.dropout,
                **options,
            )
            for _ in range(config.num_layers)
        )

    def _initialise(self) -> None:
        """Embeddings normal with 1 / sqrt(C), matrices even with the variance of Glorot and Bengio (2010), biases 0."""
        width = self.config.embed_dim
        for name, parameter in self.named_parameters():
            if name == "tokens.weight":
                nn.init.fill_(parameter, lambda table: pf.randn(*table.shape, device=table.device) / math.sqrt(width))
            elif parameter.ndim == 2:
                nn.init.xavier_uniform_(parameter)

    def forward(
        self,
        source: Any,
        target: Any,
        source_lengths: Any = None,
        target_lengths: Any = None,
        *,
        return_weights: bool = False,
    ) -> Any:
        """Logits (B, T, V) of the token after each one of `target`.

        Args:
            source, target: integers (B, S) and (B, T): Tensors, NumPy arrays or nested lists.
            source_lengths, target_lengths: tokens of each row that count, (B,); the rest is padding on the right.
            return_weights: give (logits, {"encoder", "decoder", "cross": lists of the attention weights (B, H, S, S),
                (B, H, T, T) and (B, H, T, S) of each layer}).

        Raises:
            ValueError: S or T is 0 or exceeds the context length, or a shape is wrong.
            TypeError: ids or lengths are not integers.
            IndexError: an id is not in [0, V).
        """
        weights: dict[str, list[pf.Tensor]] = {"encoder": [], "decoder": [], "cross": []}
        kept = weights if return_weights else None
        memory, source_lengths = self.encode(source, source_lengths, kept)
        logits = self.head.as_linear(self._decode(memory, source_lengths, target, target_lengths, kept))
        return (logits, weights) if return_weights else logits

    def encode(
        self, source: Any, lengths: Any = None, weights: dict[str, list[pf.Tensor]] | None = None
    ) -> tuple[pf.Tensor, pf.Tensor | None]:
        """(the source in context (B, S, C), its lengths as a Tensor or None), from arguments of `forward`."""
        ids, lengths = self._read("source", source, lengths)
        places = np.arange(ids.shape[1])
        x, mask = self.dropout(self.embed(ids, places)), self.score_bias(self.encoder, places, len(places))
        for block in self.encoder:
            x = block(x, key_lengths=lengths, mask=mask, return_weights=weights is not None)
            if weights is not None:
                x, own = x
                weights["encoder"].append(own)
        return (x if self.encoder_norm is None else self.encoder_norm(x)), lengths

    def _decode(
        self,
        memory: pf.Tensor,
        memory_lengths: pf.Tensor | None,
        target: Any,
        lengths: Any,
        weights: dict[str, list[pf.Tensor]] | None = None,
    ) -> pf.Tensor:
        """What the last projection sees, (B, T, C)."""
        ids, lengths = self._read("target", target, lengths)
        if ids.shape[0] != memory.shape[0]:
            raise ValueError(
                f"{type(self).__name__}: target must have {memory.shape[0]} rows as source has, got {ids.shape[0]}"
            )
        places = np.arange(ids.shape[1])
        x, mask = self.dropout(self.embed(ids, places)), self.score_bias(self.decoder, places, len(places))
        where = {"key_lengths": lengths, "context_lengths": memory_lengths, "mask": mask}
        for block in self.decoder:
            x = block(x, memory, **where, return_weights=weights is not None)
            if weights is not None:
                x, own, cross = x
                weights["decoder"].append(own)
                weights["cross"].append(cross)
        return self.final(x)

    @in_default_float_mode
    def embed(self, ids: pf.Tensor, positions: np.ndarray) -> pf.Tensor:
        """sqrt(C) times the tokens' rows, plus their positions' sines and cosines: ids (B, T), positions (T,)."""
        width = self.config.embed_dim
        x = self.tokens(ids) * math.sqrt(width)
        return x + pf.tensor(nn.sinusoids(positions, width), device=x.device).to(x.dtype)

    def score_bias(self, stack: nn.ModuleList, positions: np.ndarray, keys: int) -> pf.Tensor | None:
        """What is added to the scores by where queries stand and how many keys there are: nothing here."""
        return None

    @property
    def head(self) -> nn.Projection:
        """The last projection."""
        return self.tokens

    def final(self, x: pf.Tensor) -> pf.Tensor:
        """The last normalisation, where there is one."""
        return x if self.decoder_norm is None else self.decoder_norm(x)

    def loss(
        self,
        source: Any,
        target: Any,
        source_lengths: Any = None,
        target_lengths: Any = None,
        *,
        label_smoothing: float = 0.0,
    ) -> pf.Tensor:
        """Mean cross-entropy in nats of each token of `target` after the first, given those before it.

        Rows of `target` start with bos_id and end with eos_id, then padding. `label_smoothing` spreads that part of
        each label over the vocabulary. Arguments and errors otherwise as in `forward`.
        """
        target = read_int64(type(self).__name__, "target", target, "target_lengths")
        if target.ndim != 2 or target.shape[1] < 2:
            raise ValueError(
                f"{type(self).__name__}: target must be (B, T) with T at least 2, got shape {target.shape}"
            )
        inputs, labels, input_lengths = target[:, :-1], target[:, 1:], None
        if target_lengths is not None:
            ends = read_lengths(type(self).__name__, target_lengths, *target.shape, name="target_lengths")
            labels = np.where(np.arange(1, target.shape[1]) < ends[:, None], labels, IGNORED)
            input_lengths = np.maximum(ends - 1, 1)
        memory, source_lengths = self.encode(source, source_lengths)
        hidden = self._decode(memory, source_lengths, inputs, input_lengths)
        return self.head.linear_cross_entropy(
            hidden.reshape(-1, self.config.embed_dim),
            pf.tensor(labels.reshape(-1), device=hidden.device),
            ignore_index=IGNORED,
            label_smoothing=label_smoothing,
        )

    def count_targets(self, source: Any, target: Any, source_lengths: Any = None, target_lengths: Any = None) -> int:
        """How many tokens `loss` is the mean of; arguments as in `loss`."""
        target = read_int64(type(self).__name__, "target", target, "target_lengths")
        if target_lengths is None:
            return target.shape[0] * (target.shape[1] - 1)
        ends = read_lengths(type(self).__name__, target_lengths, *target.shape, name="target_lengths")
        return int(np.maximum(ends - 1, 0).sum())

    def translate(
        self,
        source: Any,
        source_lengths: Any = None,
        *,
        max_new_tokens: int | None = None,
        beams: int = 1,
        length_penalty: float = 0.6,
    ) -> list[list[int]]:
        """The likeliest target found for each row of `source`, without bos_id and eos_id.

        Args:
            source, source_lengths: as in `forward`.
            max_new_tokens: the most tokens of a target, eos_id included; by default the context length.
            beams: how many beginnings are followed at once; 1 is greedy.
            length_penalty: a whole target's log-probability is divided by ((5 + tokens) / 6) to this power
                (Wu et al. 2016, eq. 14), so that longer ones stand a chance.

        Raises as `forward` does, and ValueError for settings out of range.
        """
        limit = self.config.context_length if max_new_tokens is None else max_new_tokens
        return translate(self, source, source_lengths, limit, beams, length_penalty)

    def _read(self, name: str, ids: Any, lengths: Any) -> tuple[pf.Tensor, pf.Tensor | None]:
        device = self.tokens.device
        ids = read_ids(type(self).__name__, ids, self.config.context_length, device, name, f"{name}_lengths")
        if lengths is not None:
            lengths = read_lengths(type(self).__name__, lengths, *ids.shape, name=f"{name}_lengths")
            lengths = pf.tensor(lengths, device=device)
        return ids, lengths
