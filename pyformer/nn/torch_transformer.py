"""torch's transformer layers, with its arguments, masks and parameters: files of one open in the other.

A bool mask is True where a query may *not* attend, as in torch; `pf.nn.MultiHeadAttention` and `TransformerBlock` are
the library's own, which mean the opposite.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pyformer as pf
from pyformer import ops
from pyformer.nn import init
from pyformer.nn.attention import attention_of_scores, attention_of_weights, attention_weights
from pyformer.nn.containers import ModuleList
from pyformer.nn.layers import Dropout, LayerNorm, Linear, check_probability, check_sizes
from pyformer.nn.module import Module
from pyformer.nn.precision import is_float


def _check_mask(name: str, mask: Any) -> None:
    """TypeError unless it is a Tensor of bools or floats: added to scores, 0 and 1 would hide nothing."""
    if not isinstance(mask, pf.Tensor):
        raise TypeError(f"MultiheadAttention: {name} must be a Tensor, got {type(mask).__name__}")
    if mask.dtype != pf.bool and not is_float(mask.dtype):
        raise TypeError(f"MultiheadAttention: {name} must be of bools or floats, got {mask.dtype.name}")


class MultiheadAttention(Module):
    """torch's attention of several heads; see `MultiHeadAttention` for the library's own.

    Args:
        embed_dim: C.
        num_heads: H, which divides C.
        dropout: the probability with which a weight is dropped in training.
        bias: whether the projections have biases.
        batch_first: (B, T, C) rather than (T, B, C).
        dtype: of the parameters, float32 by default.

    Raises:
        ValueError: a size is below 1, H does not divide C, or a shape does not fit (when called).
        TypeError: a size is no int.

    Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.2.

    Example:
        >>> layer, x = pf.nn.MultiheadAttention(16, 4, batch_first=True), pf.ones(2, 5, 16)
        >>> out, weights = layer(x, x, x)
        >>> out.shape, weights.shape
        ((2, 5, 16), (2, 5, 5))
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        batch_first: bool = False,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        check_sizes("MultiheadAttention", embed_dim=embed_dim, num_heads=num_heads)
        if embed_dim % num_heads:
            raise ValueError(f"MultiheadAttention: num_heads ({num_heads}) must divide embed_dim ({embed_dim})")
        self.embed_dim, self.num_heads, self.batch_first = embed_dim, num_heads, batch_first
        self.dropout = check_probability("MultiheadAttention", "dropout", dropout)
        bound = math.sqrt(6.0 / (4 * embed_dim))  # Xavier's, of (3 C, C)
        self.in_proj_weight = init.uniform(3 * embed_dim, embed_dim, bound=bound, dtype=dtype)
        self.in_proj_bias = init.zeros(3 * embed_dim, dtype=dtype) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, dtype)
        if bias:
            self.out_proj.bias = init.zeros(embed_dim, dtype=dtype)

    def forward(
        self,
        query: pf.Tensor,
        key: pf.Tensor,
        value: pf.Tensor,
        key_padding_mask: pf.Tensor | None = None,
        need_weights: bool = True,
        attn_mask: pf.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[pf.Tensor, pf.Tensor | None]:
        """(out, weights): out of query's shape; weights (B, Tq, Tk), (B, H, Tq, Tk) without the average, or None.

        Args:
            query: (Tq, B, C), or (B, Tq, C) with batch_first.
            key, value: (Tk, B, C), or (B, Tk, C).
            key_padding_mask: (B, Tk): True of a key that nobody may see, or floats to add to the scores.
            need_weights: whether weights are wanted; without them the fused operation serves.
            attn_mask: (Tq, Tk) or (B H, Tq, Tk): True where a query may not attend, or floats to add to the scores.
            average_attn_weights: the mean over the heads.
            is_causal: without attn_mask, query i sees keys up to i.

        A query that may see nothing gives the output's bias, where torch gives NaN. A key that key_padding_mask hides
        (True or minus infinity) may hold infinities and NaN, which are read as 0, so that they reach no gradient. One
        that attn_mask hides from every query reaches no result either, but the gradients of `in_proj_weight`: they
        multiply its gradient, which is 0, by it.

        Raises:
            ValueError: a shape does not fit.
            TypeError: a mask is no Tensor of bools or floats.
        """
        kept = self.without_padding(key, key_padding_mask)
        query = kept if query is key else query
        key, value = kept, kept if value is key else self.without_padding(value, key_padding_mask)
        turned = [x if self.batch_first else x.swapaxes(0, 1) for x in (query, key, value)]
        for x in turned:
            if x.ndim != 3 or x.shape[2] != self.embed_dim:
                raise ValueError(
                    f"MultiheadAttention: expected query, key and value of three axes, the last of {self.embed_dim}, "
                    f"got {query.shape}, {key.shape} and {value.shape}"
                )
        q, k, v = self._projected(*turned, is_same=query is key and key is value)
        mask = self._mask(q, k, key_padding_mask, attn_mask, is_causal)
        drops = self.training and self.dropout > 0.0
        weights = attention_weights(q, k, mask=mask) if need_weights or drops else None
        if drops:
            weights = ops.dropout(weights, self.dropout)
            mixed = attention_of_weights(weights, v, mask=mask)
        else:
            attend = attention_of_scores if mask is not None and mask.requires_grad else ops.attention
            mixed = attend(q, k, v, mask=mask)
        out = self.out_proj(mixed.reshape(*q.shape[:2], self.embed_dim))
        out = out if self.batch_first else out.swapaxes(0, 1)
        if not need_weights or weights is None:
            return out, None
        return out, weights.mean(axis=1) if average_attn_weights else weights

    def without_padding(self, x: pf.Tensor, padding: pf.Tensor | None) -> pf.Tensor:
        """x, laid out as the arguments of `forward`, with 0 for infinities and NaN where `padding` (B, T) hides it."""
        if padding is None or x.ndim != 3:
            return x
        _check_mask("key_padding_mask", padding)
        batch, keys = x.shape[:2] if self.batch_first else x.shape[1::-1]
        if padding.shape != (batch, keys):
            raise ValueError(f"MultiheadAttention: key_padding_mask must be ({batch}, {keys}), got {padding.shape}")
        is_seen = ~padding if padding.dtype == pf.bool else ops.not_equal(padding, -math.inf)
        is_seen = (is_seen if self.batch_first else is_seen.swapaxes(0, 1)).reshape(*x.shape[:2], 1)
        return ops.where(ops.logical_or(is_seen, x.isfinite()), x, 0.0)

    def _projected(self, query: pf.Tensor, key: pf.Tensor, value: pf.Tensor, is_same: bool) -> list[pf.Tensor]:
        """Queries, keys and values (B, T, H, D)."""
        third = self.embed_dim
        if is_same:
            parts = ops.split(ops.linear(query, self.in_proj_weight, self.in_proj_bias), [third] * 3, -1)
        else:
            weights = ops.split(self.in_proj_weight, [third] * 3, 0)
            biases = [None] * 3 if self.in_proj_bias is None else ops.split(self.in_proj_bias, [third] * 3, 0)
            parts = [ops.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)]
        return [part.reshape(*part.shape[:2], self.num_heads, -1) for part in parts]

    def _mask(self, q: pf.Tensor, k: pf.Tensor, padding: Any, mask: Any, is_causal: bool) -> pf.Tensor | None:
        """torch's masks as that of `ops.attention`: True where a query may attend, or what is added to the scores."""
        batch, queries, heads, _ = q.shape
        keys = k.shape[1]
        if mask is not None:
            _check_mask("attn_mask", mask)
        if mask is None and is_causal:
            mask = ~pf.ones(queries, keys, dtype=pf.bool, device=q.device).tril()
        parts = []
        if mask is not None:
            one, each = (queries, keys), (batch * heads, queries, keys)
            if mask.shape not in (one, each):
                raise ValueError(f"MultiheadAttention: attn_mask must be {one} or {each}, got {mask.shape}")
            parts.append(mask if mask.ndim == 2 else mask.reshape(batch, heads, queries, keys))
        if padding is not None:
            parts.append(padding.reshape(batch, 1, 1, keys))
        if not parts:
            return None
        if all(part.dtype == pf.bool for part in parts):
            return ~parts[0] if len(parts) == 1 else ~(parts[0] | parts[1])
        added = [
            pf.zeros(*p.shape, dtype=q.dtype, device=q.device).masked_fill(p, -math.inf) if p.dtype == pf.bool else p
            for p in parts
        ]
        return added[0] if len(added) == 1 else added[0] + added[1]

    def extra_repr(self) -> str:
        return f"{self.embed_dim}, {self.num_heads}, dropout={self.dropout}, batch_first={self.batch_first}"


_ACTIVATIONS = {"relu": ops.relu, "gelu": ops.gelu}


def _activation(owner: str, activation: str | Callable) -> Callable:
    if callable(activation):
        return activation
    if activation not in _ACTIVATIONS:
        raise ValueError(f"{owner}: activation must be 'relu', 'gelu' or a function, got {activation!r}")
    return _ACTIVATIONS[activation]


class TransformerEncoderLayer(Module):
    """torch's encoder layer: self-attention and an MLP, each with a residual and a norm after it.

    Args:
        d_model: C.
        nhead: H, which divides C.
        dim_feedforward: the width of the MLP.
        dropout: the probability of a drop in training: of attention weights, in the MLP, and of what each part gives.
        activation: "relu", "gelu" or a function.
        layer_norm_eps: what the norms add to the variance.
        batch_first: (B, T, C) rather than (T, B, C).
        norm_first: the norm before each part rather than after the sum.
        bias: whether maps and norms have biases.
        dtype: of the parameters, float32 by default.

    Raises:
        ValueError: a size is below 1, H does not divide C, or a shape does not fit (when called).
        TypeError: a size is no int.

    Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.1.

    Example:
        >>> layer = pf.nn.TransformerEncoderLayer(16, 4, batch_first=True)
        >>> layer(pf.ones(2, 5, 16)).shape
        (2, 5, 16)
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.activation = _activation(type(self).__name__, activation)
        self.norm_first = norm_first
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first, dtype)
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype)
        self.dropout = Dropout(dropout)
        for number in self._parts():
            setattr(self, f"norm{number}", LayerNorm(d_model, layer_norm_eps, bias, dtype))
            setattr(self, f"dropout{number}", Dropout(dropout))

    def _parts(self) -> range:
        """The numbers of the norms: one a part."""
        return range(1, 3)

    def forward(
        self,
        src: pf.Tensor,
        src_mask: pf.Tensor | None = None,
        src_key_padding_mask: pf.Tensor | None = None,
        is_causal: bool = False,
    ) -> pf.Tensor:
        """src (T, B, C), or (B, T, C) with batch_first, of the same shape; masks as in `MultiheadAttention`.

        What src_key_padding_mask hides may hold infinities and NaN: they are read as 0 by the whole layer.
        """
        src = self.self_attn.without_padding(src, src_key_padding_mask)
        x = self._added(1, src, lambda x: self._attended(x, src_mask, src_key_padding_mask, is_causal))
        return self._added(2, x, self._fed)

    def _added(self, number: int, x: pf.Tensor, part: Callable[[pf.Tensor], pf.Tensor]) -> pf.Tensor:
        """x plus what a part makes of it, with the norm where it belongs."""
        norm, dropout = getattr(self, f"norm{number}"), getattr(self, f"dropout{number}")
        return x + dropout(part(norm(x))) if self.norm_first else norm(x + dropout(part(x)))

    def _attended(self, x: pf.Tensor, mask: Any, padding: Any, is_causal: bool) -> pf.Tensor:
        return self.self_attn(x, x, x, padding, need_weights=False, attn_mask=mask, is_causal=is_causal)[0]

    def _fed(self, x: pf.Tensor) -> pf.Tensor:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


class TransformerDecoderLayer(TransformerEncoderLayer):
    """torch's decoder layer: self-attention, attention to what an encoder gave, and an MLP.

    Args:
        d_model: C.
        nhead: H, which divides C.
        args, options: those of `TransformerEncoderLayer` from dim_feedforward on, with the same defaults.

    Raises:
        ValueError: a size is below 1, H does not divide C, or a shape does not fit (when called).
        TypeError: a size is no int.

    Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.1.

    Example:
        >>> layer = pf.nn.TransformerDecoderLayer(16, 4, batch_first=True)
        >>> layer(pf.ones(2, 3, 16), pf.ones(2, 5, 16)).shape
        (2, 3, 16)
    """

    def __init__(self, d_model: int, nhead: int, *args: Any, **options: Any) -> None:
        super().__init__(d_model, nhead, *args, **options)
        own = self.self_attn
        dtype = own.in_proj_weight.dtype
        bias = own.in_proj_bias is not None
        self.multihead_attn = MultiheadAttention(d_model, nhead, own.dropout, bias, own.batch_first, dtype)

    def _parts(self) -> range:
        return range(1, 4)

    def forward(  # type: ignore[override]
        self,
        tgt: pf.Tensor,
        memory: pf.Tensor,
        tgt_mask: pf.Tensor | None = None,
        memory_mask: pf.Tensor | None = None,
        tgt_key_padding_mask: pf.Tensor | None = None,
        memory_key_padding_mask: pf.Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> pf.Tensor:
        """tgt (Tq, B, C), or (B, Tq, C) with batch_first, of the same shape; memory is what an encoder gave.

        What the masks of padding hide may hold infinities and NaN: they are read as 0 by the whole layer.
        """
        tgt = self.self_attn.without_padding(tgt, tgt_key_padding_mask)

        def crossed(x: pf.Tensor) -> pf.Tensor:
            options = {"need_weights": False, "attn_mask": memory_mask, "is_causal": memory_is_causal}
            return self.multihead_attn(x, memory, memory, memory_key_padding_mask, **options)[0]

        x = self._added(1, tgt, lambda x: self._attended(x, tgt_mask, tgt_key_padding_mask, tgt_is_causal))
        return self._added(3, self._added(2, x, crossed), self._fed)


class _Stack(Module):
    """Copies of a layer, one after the other, and perhaps a norm."""

    def __init__(self, layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        check_sizes(type(self).__name__, num_layers=num_layers)
        self.layers = ModuleList(copy.deepcopy(layer) for _ in range(num_layers))
        self.num_layers, self.norm = num_layers, norm

    def _through(self, x: pf.Tensor, *args: Any) -> pf.Tensor:
        for layer in self.layers:
            x = layer(x, *args)
        return x if self.norm is None else self.norm(x)


class TransformerEncoder(_Stack):
    """torch's encoder: copies of a layer, which begin with the same values, and perhaps a norm.

    Args:
        layer: a `TransformerEncoderLayer`.
        num_layers: how many.
        norm: a module for the end, or None.

    Raises:
        ValueError: num_layers is below 1.
        TypeError: num_layers is no int.

    Example:
        >>> layer = pf.nn.TransformerEncoderLayer(16, 4, batch_first=True)
        >>> pf.nn.TransformerEncoder(layer, 2)(pf.ones(2, 5, 16)).shape
        (2, 5, 16)
    """

    def forward(
        self,
        src: pf.Tensor,
        mask: pf.Tensor | None = None,
        src_key_padding_mask: pf.Tensor | None = None,
        is_causal: bool = False,
    ) -> pf.Tensor:
        """src through all layers; masks as in `MultiheadAttention`."""
        return self._through(src, mask, src_key_padding_mask, is_causal)


class TransformerDecoder(_Stack):
    """torch's decoder: copies of a layer, which begin with the same values, and perhaps a norm.

    Args:
        layer: a `TransformerDecoderLayer`.
        num_layers: how many.
        norm: a module for the end, or None.

    Raises:
        ValueError: num_layers is below 1.
        TypeError: num_layers is no int.

    Example:
        >>> layer = pf.nn.TransformerDecoderLayer(16, 4, batch_first=True)
        >>> pf.nn.TransformerDecoder(layer, 2)(pf.ones(2, 3, 16), pf.ones(2, 5, 16)).shape
        (2, 3, 16)
    """

    def forward(
        self,
        tgt: pf.Tensor,
        memory: pf.Tensor,
        tgt_mask: pf.Tensor | None = None,
        memory_mask: pf.Tensor | None = None,
        tgt_key_padding_mask: pf.Tensor | None = None,
        memory_key_padding_mask: pf.Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> pf.Tensor:
        """tgt through all layers, each of which reads memory; masks as in `MultiheadAttention`."""
        masks = (tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)
        return self._through(tgt, memory, *masks, tgt_is_causal, memory_is_causal)


class Transformer(Module):
    """torch's transformer: an encoder of one sequence and a decoder of another; no embeddings, no logits.

    `pf.models.EncoderDecoder` is a whole model.

    Args:
        d_model: C.
        nhead: H, which divides C.
        num_encoder_layers, num_decoder_layers: how many layers.
        dim_feedforward: the width of the MLPs.
        options: as of `TransformerEncoderLayer`.

    Raises:
        ValueError: a size is below 1, H does not divide C, or a shape does not fit (when called).
        TypeError: a size is no int.

    Source: Vaswani et al. 2017, "Attention Is All You Need".

    Example:
        >>> model = pf.nn.Transformer(16, 4, 1, 1, 32, batch_first=True)
        >>> model(pf.ones(2, 5, 16), pf.ones(2, 3, 16)).shape
        (2, 3, 16)
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        **options: Any,
    ) -> None:
        super().__init__()
        norm = {key: options[name] for name, key in _OF_NORMS.items() if name in options}
        encoder = TransformerEncoderLayer(d_model, nhead, dim_feedforward, **options)
        decoder = TransformerDecoderLayer(d_model, nhead, dim_feedforward, **options)
        self.encoder = TransformerEncoder(encoder, num_encoder_layers, LayerNorm(d_model, **norm))
        self.decoder = TransformerDecoder(decoder, num_decoder_layers, LayerNorm(d_model, **norm))
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)

    def forward(
        self,
        src: pf.Tensor,
        tgt: pf.Tensor,
        src_mask: pf.Tensor | None = None,
        tgt_mask: pf.Tensor | None = None,
        memory_mask: pf.Tensor | None = None,
        src_key_padding_mask: pf.Tensor | None = None,
        tgt_key_padding_mask: pf.Tensor | None = None,
        memory_key_padding_mask: pf.Tensor | None = None,
        src_is_causal: bool = False,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> pf.Tensor:
        """What the decoder makes of tgt, reading what the encoder made of src; masks as in `MultiheadAttention`."""
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        masks = (tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)
        return self.decoder(tgt, memory, *masks, tgt_is_causal, memory_is_causal)

    @staticmethod
    def generate_square_subsequent_mask(size: int) -> pf.Tensor:
        """(size, size): 0 where a query may attend, at its own place and before, minus infinity elsewhere."""
        return pf.zeros(size, size).masked_fill(pf.ones(size, size, dtype=pf.bool).triu(1), -math.inf)


_OF_NORMS = {"layer_norm_eps": "eps", "bias": "bias", "dtype": "dtype"}
