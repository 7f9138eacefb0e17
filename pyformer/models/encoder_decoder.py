"""The transformer of 2017: Vaswani et al., "Attention Is All You Need".

An encoder reads the source; a decoder writes the target, each token seeing those before it and, by cross-attention,
the whole source. Sinusoidal positions, blocks that normalise after they add, one matrix for both embeddings and the
last projection. Translations come greedily or by beam search over a key-value cache.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import _core, formats, nn, ops
from pyformer.formats import hf
from pyformer.models.inputs import read_ids, read_int64, read_lengths
from pyformer.nn.layers import check_probability, check_sizes

IGNORED = -100
MODEL_TYPE = "pyformer_encoder_decoder"


@dataclass(frozen=True)
class EncoderDecoderConfig:
    """The shape of an EncoderDecoder; raises TypeError or ValueError for values that make none.

    num_layers: of the encoder, and of the decoder. hidden_dim: 4 * embed_dim unless given. norm_first: normalise
    before each part, and once at the end of both stacks, instead of after. bos_id starts a target, eos_id ends it.
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
        if self.hidden_dim == 0 and isinstance(self.embed_dim, int):
            object.__setattr__(self, "hidden_dim", 4 * self.embed_dim)
        sizes = ("vocab_size", "context_length", "num_layers", "num_heads", "embed_dim", "hidden_dim")
        check_sizes("EncoderDecoderConfig", **{name: getattr(self, name) for name in sizes})
        if self.embed_dim % self.num_heads or self.embed_dim % 2:
            raise ValueError(
                f"EncoderDecoderConfig: embed_dim must be even and a multiple of num_heads ({self.num_heads}), "
                f"got {self.embed_dim}"
            )
        check_probability("EncoderDecoderConfig", "dropout", self.dropout)
        for name in ("bos_id", "eos_id"):
            token = getattr(self, name)
            if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < self.vocab_size:
                raise ValueError(f"EncoderDecoderConfig: {name} must be in [0, {self.vocab_size}), got {token!r}")

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> EncoderDecoderConfig:
        """Reads the content of config.json; ValueError or TypeError if it isn't one of these."""
        names = [field.name for field in fields(cls)]
        hf.check_config("EncoderDecoder", config, fixed={"model_type": MODEL_TYPE}, required=names[:5], known=names)
        return cls(**{name: config[name] for name in names if name in config})


class EncoderDecoder(nn.Module):
    """The model, freshly initialised from `pf.manual_seed`'s stream, float32."""

    def __init__(self, config: EncoderDecoderConfig) -> None:
        super().__init__()
        if not isinstance(config, EncoderDecoderConfig):
            raise TypeError(f"EncoderDecoder: expected an EncoderDecoderConfig, got {type(config).__name__}")
        self.config = config
        with nn.init.skip():
            self.tokens = nn.Embedding(config.vocab_size, config.embed_dim)
            self.dropout = nn.Dropout(config.dropout)
            self.encoder = self._stack()
            self.decoder = self._stack(causal=True, cross_attention=True)
            self.encoder_norm = nn.LayerNorm(config.embed_dim) if config.norm_first else None
            self.decoder_norm = nn.LayerNorm(config.embed_dim) if config.norm_first else None
        if not nn.init.skipped():
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
        with pf.no_grad():
            for name, parameter in self.named_parameters():
                if name == "tokens.weight":
                    values = pf.randn(*parameter.shape) / math.sqrt(self.config.embed_dim)
                elif parameter.ndim == 2:
                    bound = math.sqrt(6.0 / sum(parameter.shape))
                    values = pf.rand(*parameter.shape) * (2.0 * bound) - bound
                else:
                    continue
                _core.copy_([parameter], [values])

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
        logits = ops.linear(self._decode(memory, source_lengths, target, target_lengths, kept), self.tokens.weight)
        return (logits, weights) if return_weights else logits

    def encode(
        self, source: Any, lengths: Any = None, weights: dict[str, list[pf.Tensor]] | None = None
    ) -> tuple[pf.Tensor, pf.Tensor | None]:
        """(the source in context (B, S, C), its lengths as a Tensor or None), from arguments of `forward`."""
        ids, lengths = self._read("source", source, lengths)
        x = self.dropout(self.embed(ids, np.arange(ids.shape[1])))
        for block in self.encoder:
            x = block(x, key_lengths=lengths, return_weights=weights is not None)
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
                f"EncoderDecoder: target must have {memory.shape[0]} rows as source has, got {ids.shape[0]}"
            )
        x = self.dropout(self.embed(ids, np.arange(ids.shape[1])))
        where = {"key_lengths": lengths, "context_lengths": memory_lengths}
        for block in self.decoder:
            x = block(x, memory, **where, return_weights=weights is not None)
            if weights is not None:
                x, own, cross = x
                weights["decoder"].append(own)
                weights["cross"].append(cross)
        return self.final(x)

    def embed(self, ids: pf.Tensor, positions: np.ndarray) -> pf.Tensor:
        """sqrt(C) times the tokens' rows, plus their positions' sines and cosines: ids (B, T), positions (T,)."""
        width = self.config.embed_dim
        x = self.tokens(ids) * math.sqrt(width)
        return x + pf.tensor(nn.sinusoids(positions, width), device=x.device).to(x.dtype)

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
        target = read_int64("EncoderDecoder", "target", target)
        if target.ndim != 2 or target.shape[1] < 2:
            raise ValueError(f"EncoderDecoder: target must be (B, T) with T at least 2, got shape {target.shape}")
        inputs, labels, input_lengths = target[:, :-1], target[:, 1:], None
        if target_lengths is not None:
            ends = read_lengths("EncoderDecoder", target_lengths, *target.shape, name="target_lengths")
            labels = np.where(np.arange(1, target.shape[1]) < ends[:, None], labels, IGNORED)
            input_lengths = np.maximum(ends - 1, 1)
        memory, source_lengths = self.encode(source, source_lengths)
        hidden = self._decode(memory, source_lengths, inputs, input_lengths)
        return ops.linear_cross_entropy(
            hidden.reshape(-1, self.config.embed_dim),
            self.tokens.weight,
            pf.tensor(labels.reshape(-1), device=hidden.device),
            ignore_index=IGNORED,
            label_smoothing=label_smoothing,
        )

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
        check_sizes("EncoderDecoder", beams=beams, max_new_tokens=limit)
        if limit > self.config.context_length:
            raise ValueError(
                f"EncoderDecoder: max_new_tokens must be at most the context length {self.config.context_length}, "
                f"got {limit}"
            )
        if not 0.0 <= length_penalty < math.inf:
            raise ValueError(f"EncoderDecoder: length_penalty must be 0 or above, got {length_penalty}")
        with pf.no_grad():
            memory, lengths = self.encode(source, source_lengths)
            decoder = CachedDecoder(self, memory, lengths, beams, limit)
            return _search(decoder, memory.shape[0], beams, limit, self.config, length_penalty)

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Writes config.json and model.safetensors; both replace older files only when complete."""
        hf.save(folder, {"model_type": MODEL_TYPE, **asdict(self.config)}, self, str)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike, *, dtype: Any = None) -> EncoderDecoder:
        """Opens a folder of `save_pretrained`, in evaluation mode.

        Raises:
            FileNotFoundError: config.json or model.safetensors is missing.
            ValueError: a file is damaged, or the two don't fit together.
            TypeError: a value in config.json or a tensor has the wrong type.
        """
        config = EncoderDecoderConfig.from_dict(formats.read_config(folder))
        weights = hf.Weights(folder)
        last = f"decoder.{config.num_layers - 1}.mlp.up.weight"
        shapes = {
            "tokens.weight": (config.vocab_size, config.embed_dim),
            last: (config.hidden_dim, config.embed_dim),
        }
        weights.require(config.num_layers, shapes)
        with nn.init.skip():
            model = cls(config)
        return weights.fill(model, str, "", dtype)

    def _read(self, name: str, ids: Any, lengths: Any) -> tuple[pf.Tensor, pf.Tensor | None]:
        device = self.tokens.weight.device
        ids = read_ids("EncoderDecoder", ids, self.config.context_length, device, name)
        if lengths is not None:
            lengths = read_lengths("EncoderDecoder", lengths, *ids.shape, name=f"{name}_lengths")
            lengths = pf.tensor(lengths, device=device)
        return ids, lengths


class CachedDecoder:
    """The decoder in the middle of writing `beams` targets for each of B sources, one token a step."""

    def __init__(
        self, model: EncoderDecoder, memory: pf.Tensor, lengths: pf.Tensor | None, beams: int, limit: int
    ) -> None:
        self.model, self.beams, self.lengths = model, beams, lengths
        self.rows = memory.shape[0] * beams
        where = {"dtype": memory.dtype, "device": memory.device}
        self.caches, self.sources = [], []
        for block in model.decoder:
            shape = (self.rows, limit, block.attention.num_heads, block.attention.head_dim)
            self.caches.append([pf.zeros(shape, **where), pf.zeros(shape, **where)])
            self.sources.append([_heads(m(memory), block.cross) for m in (block.cross.k_proj, block.cross.v_proj)])
        self.step = 0

    def reorder(self, origins: np.ndarray) -> None:
        """Row i goes on from what row origins[i] has seen."""
        if not np.array_equal(origins, np.arange(self.rows)):
            for cache in self.caches:
                cache[:] = [tensor[origins] for tensor in cache]

    def extend(self, tokens: np.ndarray) -> np.ndarray:
        """Log-probabilities (B * beams, V), float64, of the token after `tokens` (B * beams,); ValueError for a NaN."""
        model = self.model
        device = model.tokens.weight.device
        starts = pf.tensor(np.full(self.rows, self.step, np.int64), device=device)
        x = model.embed(pf.tensor(tokens[:, None], device=device), np.array([self.step]))
        for block, cache, source in zip(model.decoder, self.caches, self.sources, strict=True):
            (x,) = block.sublayer(x, block.attention_norm, _Cached(block.attention, cache, starts))
            (x,) = block.sublayer(x, block.cross_norm, _Cross(block.cross, source, self.lengths, self.beams))
            (x,) = block.sublayer(x, block.mlp_norm, block.mlp)
        self.step += 1
        logits = ops.linear(model.final(x).reshape(self.rows, -1), model.tokens.weight)
        log_probabilities = ops.log_softmax(logits.to("cpu").to(pf.float64)).numpy()
        if np.isnan(log_probabilities).any():
            row = int(np.isnan(log_probabilities).any(axis=1).argmax()) // self.beams
            raise ValueError(f"EncoderDecoder: the logits of row {row} hold nan")
        return log_probabilities


@dataclass(frozen=True)
class _Cached:
    """Self-attention of one new token a row over a cache, which it joins."""

    attention: nn.MultiHeadAttention
    cache: list[pf.Tensor]
    starts: pf.Tensor

    def __call__(self, x: pf.Tensor, residual: pf.Tensor | None) -> pf.Tensor:
        a = self.attention
        for cache, linear in zip(self.cache, (a.k_proj, a.v_proj), strict=True):
            _core.cache_append_(cache, _heads(linear(x), a), self.starts)
        q = _heads(a.q_proj(x), a)
        mixed = ops.attention(q, *self.cache, key_lengths=self.starts + 1, query_offset=self.starts)
        return a.out_proj(mixed.reshape(*x.shape), residual=residual)


@dataclass(frozen=True)
class _Cross:
    """Attention of one new token a row to the source's keys and values, which the beams of a source share."""

    attention: nn.MultiHeadAttention
    source: list[pf.Tensor]
    lengths: pf.Tensor | None
    beams: int

    def __call__(self, x: pf.Tensor, residual: pf.Tensor | None) -> pf.Tensor:
        a = self.attention
        q = a.q_proj(x).reshape(-1, self.beams, a.num_heads, a.head_dim)
        mixed = ops.attention(q, *self.source, key_lengths=self.lengths)
        return a.out_proj(mixed.reshape(*x.shape), residual=residual)


def _heads(x: pf.Tensor, attention: nn.MultiHeadAttention) -> pf.Tensor:
    return x.reshape(x.shape[0], x.shape[1], attention.num_heads, attention.head_dim)


def _search(
    decoder: CachedDecoder,
    sources: int,
    beams: int,
    limit: int,
    config: EncoderDecoderConfig,
    length_penalty: float,
) -> list[list[int]]:
    """Beam search: each source keeps its best `beams` beginnings and its best ended targets."""

    def score(total: float, length: int) -> float:
        return total / ((5.0 + length) / 6.0) ** length_penalty

    totals = np.full((sources, beams), -np.inf)
    totals[:, 0] = 0.0
    beginnings: list[list[list[int]]] = [[[] for _ in range(beams)] for _ in range(sources)]
    ended: list[list[tuple[float, list[int]]]] = [[] for _ in range(sources)]
    open_sources = set(range(sources))
    tokens = np.full(sources * beams, config.bos_id, np.int64)
    for length in range(1, limit + 1):
        log_probabilities = decoder.extend(tokens).reshape(sources, beams, -1)
        origins = np.arange(sources * beams)
        for s in sorted(open_sources):
            candidates = (totals[s][:, None] + log_probabilities[s]).reshape(-1)
            # Each beginning has one way to end, so among 2 * beams of them as many go on as are followed.
            best = _highest(candidates, 2 * beams if beams > 1 else 1)
            followed = []
            for place in best:
                origin, token = divmod(int(place), config.vocab_size)
                if token == config.eos_id or length == limit:
                    text = beginnings[s][origin] + ([] if token == config.eos_id else [token])
                    ended[s].append((score(candidates[place], length), text))
                elif len(followed) < beams:
                    followed.append((origin, token, candidates[place]))
            ended[s] = sorted(ended[s], key=lambda pair: -pair[0])[:beams]
            if not followed or _is_settled(ended[s], beams, score(followed[0][2], limit)):
                open_sources.discard(s)
                continue
            followed += [(*followed[-1][:2], -np.inf)] * (beams - len(followed))
            beginnings[s] = [[*beginnings[s][origin], token] for origin, token, _ in followed]
            totals[s] = [total for _, _, total in followed]
            rows = slice(s * beams, (s + 1) * beams)
            origins[rows] = [s * beams + origin for origin, _, _ in followed]
            tokens[rows] = [token for _, token, _ in followed]
        if not open_sources:
            break
        decoder.reorder(origins)
    return [found[0][1] for found in ended]


def _is_settled(ended: list[tuple[float, list[int]]], beams: int, best_hope: float) -> bool:
    """Whether no beginning can still get among the ended: totals only fall, and the limit divides them most."""
    return len(ended) == beams and ended[-1][0] >= best_hope


def _highest(values: np.ndarray, count: int) -> Iterable[int]:
    """Indices of the highest finite values, best first, of equals the lowest index."""
    count = min(count, values.size)
    threshold = np.partition(values, values.size - count)[values.size - count]
    found = np.flatnonzero((values >= threshold) & np.isfinite(values))
    return found[np.argsort(-values[found], kind="stable")][:count]
