"""The parts of a transformer: attention, MLP and a pre-norm block."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyformer as pf
from pyformer import _core, ops
from pyformer.nn.attention import attention_weights, within_lengths
from pyformer.nn.cache import LayerCache
from pyformer.nn.layers import Dropout, LayerNorm, Linear, RMSNorm, check_sizes
from pyformer.nn.module import Module, is_plain

ACTIVATIONS = tuple(name for name in _core.activations() if name != "none")


def check_activation(owner: str, activation: str) -> str:
    """`activation`; ValueError unless it is one that `ops.linear` fuses."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"{owner}: activation must be one of {ACTIVATIONS}, got {activation!r}")
    return activation


def mlp(
    x: pf.Tensor,
    up: Linear,
    down: Linear,
    activation: str,
    norm: LayerNorm | RMSNorm | None = None,
    residual: pf.Tensor | None = None,
) -> pf.Tensor:
    """down(activation(up(norm(x)))) + residual, in one operation that keeps little for backward.

    Layers with hooks or with a `forward` of their own, such as LoRA's, are called one after the other, `up` with
    `activation` and, if given, `norm`, `down` with `residual` if given, as `Linear.forward` takes them.

    Args:
        x: (..., C), float.
        up, down: Linear layers (C to F, and F to N).
        activation: "gelu", "gelu_tanh", "relu", "silu", "tanh" or "sigmoid".
        norm: a LayerNorm or RMSNorm, or None.
        residual: (..., N), x's dtype, or None.

    Returns:
        Tensor (..., N) of x's dtype.

    Raises:
        ValueError: a shape does not fit, or the activation is not known.
        TypeError: a dtype differs.

    Example:
        >>> up, down = pf.nn.Linear(4, 8), pf.nn.Linear(8, 4)
        >>> pf.nn.mlp(pf.zeros(2, 4), up, down, "gelu", norm=pf.nn.LayerNorm(4)).shape
        (2, 4)
    """
    are_plain = is_plain(up, Linear) and is_plain(down, Linear)
    are_plain = are_plain and (norm is None or is_plain(norm, LayerNorm, RMSNorm))
    if not are_plain or up.packed() is not None or down.quantized is not None:
        x = up(x, activation=activation) if norm is None else up(x, activation=activation, norm=norm)
        return down(x) if residual is None else down(x, residual=residual)
    options = {} if norm is None else {"norm": norm.kind, "norm_weight": norm.gain, "norm_bias": norm.bias}
    if norm is not None:
        options["eps"] = norm.eps
    return ops.mlp(x, up.weight, up.bias, down.weight, down.bias, activation=activation, residual=residual, **options)


class MultiHeadAttention(Module):
    """Scaled dot-product attention over several heads, to x itself or to another sequence: (B, Tq, C) -> (B, Tq, C).

    Args:
        embed_dim: C.
        num_heads: H, which divides C.
        num_kv_heads: heads of keys and values, which divides H and is H by default: fewer are shared among the query
            heads.
        causal: position i sees positions up to i only.
        bias: whether the four projections have biases.
        dtype: of the parameters, float32 by default.

    Raises:
        ValueError: a size is below 1 or does not divide another.
        TypeError: a size is no int.

    Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.2; Ainslie et al. 2023, "GQA".

    Example:
        >>> layer = pf.nn.MultiHeadAttention(16, 4, causal=True)
        >>> out, weights = layer(pf.ones(2, 5, 16), return_weights=True)
        >>> out.shape, weights.shape
        ((2, 5, 16), (2, 4, 5, 5))
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        num_kv_heads: int | None = None,
        *,
        causal: bool = False,
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        check_sizes(
            "MultiHeadAttention",
            embed_dim=embed_dim,
            num_heads=num_heads,
            num_kv_heads=num_kv_heads,
        )
        if embed_dim % num_heads:
            raise ValueError(f"MultiHeadAttention: num_heads ({num_heads}) must divide embed_dim ({embed_dim})")
        if num_heads % num_kv_heads:
            raise ValueError(f"MultiHeadAttention: num_kv_heads ({num_kv_heads}) must divide num_heads ({num_heads})")
        self.num_heads, self.num_kv_heads = num_heads, num_kv_heads
        self.head_dim = embed_dim // num_heads
        self.causal = bool(causal)
        kv_dim = num_kv_heads * self.head_dim
        self.q_proj = Linear(embed_dim, embed_dim, bias, dtype)
        self.k_proj = Linear(embed_dim, kv_dim, bias, dtype)
        self.v_proj = Linear(embed_dim, kv_dim, bias, dtype)
        self.out_proj = Linear(embed_dim, embed_dim, bias, dtype)

    def forward(
        self,
        x: pf.Tensor,
        context: pf.Tensor | tuple[pf.Tensor, pf.Tensor] | None = None,
        *,
        key_lengths: pf.Tensor | None = None,
        mask: pf.Tensor | None = None,
        residual: pf.Tensor | None = None,
        return_weights: bool = False,
        cache: LayerCache | None = None,
    ) -> pf.Tensor | tuple[pf.Tensor, pf.Tensor]:
        """(B, Tq, C), attending to `context` (B, Tk, C) or to x itself -> (B, Tq, C).

        `context` may be what `project` made of it, which many calls can share. `key_lengths` (B,) int64 says where the
        keys of each row end: what lies beyond may hold anything, also NaN, and is read as zeros. `mask` is as in
        `ops.attention`; a key that it hides from every query has no part in the result, but one that is not finite
        makes the gradients of `k_proj` and `v_proj` NaN: 0 times infinity. `residual` (B, Tq, C) is added to the
        result. With `return_weights` the attention weights (B, H, Tq, Tk) come as a second result. With `cache` x goes
        on from the tokens in it and joins them; `key_lengths` are then the cache's.

        Raises:
            ValueError: x or context is not three-dimensional, or a shape doesn't fit.
        """
        if x.ndim != 3 or (isinstance(context, pf.Tensor) and context.ndim != 3):
            got = "" if context is None else f" and context {tuple(context.shape)}"
            raise ValueError(f"MultiHeadAttention: expected (B, T, C), got {tuple(x.shape)}{got}")
        if context is None and cache is None:
            x = within_lengths(x, key_lengths)
        elif isinstance(context, pf.Tensor):
            context = within_lengths(context, key_lengths)
        q = self._heads(self.q_proj(x), self.num_heads)
        k, v = context if isinstance(context, tuple) else self.project(x if context is None else context)
        if cache is None:
            # Rows are padded on the right: query i stands at position i whatever the row's length.
            offset = None if key_lengths is None else pf.zeros(x.shape[0], dtype=pf.int64, device=x.device)
            where = {"mask": mask, "causal": self.causal, "key_lengths": key_lengths, "query_offset": offset}
        else:
            k, v = cache.append(k, v)
            where = {"mask": mask, "causal": self.causal, **cache.reach}
        mixed = ops.attention(q, k, v, **where)
        out = self.out_proj(mixed.reshape(*x.shape[:2], -1), residual=residual)
        return (out, attention_weights(q, k, **where)) if return_weights else out

    def project(self, context: pf.Tensor) -> tuple[pf.Tensor, pf.Tensor]:
        """Keys and values (B, Tk, Hkv, D) of `context` (B, Tk, C)."""
        k, v = (self._heads(linear(context), self.num_kv_heads) for linear in (self.k_proj, self.v_proj))
        return k, v

    def _heads(self, x: pf.Tensor, num_heads: int) -> pf.Tensor:
        return x.reshape(x.shape[0], x.shape[1], num_heads, self.head_dim)


class MLP(Module):
    """Two linear maps around an activation: (..., C) -> (..., hidden) -> (..., C).

    Args:
        embed_dim: C.
        hidden_dim: 4 C by default.
        activation: "gelu", "gelu_tanh", "relu", "silu", "tanh" or "sigmoid".
        bias: whether the maps have biases.
        dtype: of the parameters, float32 by default.

    Raises:
        ValueError: a size is below 1, or the activation is not known.
        TypeError: a size is no int.

    Source: Vaswani et al. 2017, "Attention Is All You Need", eq. 2.

    Example:
        >>> pf.nn.MLP(8)(pf.zeros(2, 3, 8)).shape
        (2, 3, 8)
    """

    def __init__(
        self,
        embed_dim: int,
        hidden_dim: int | None = None,
        activation: str = "gelu",
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        check_sizes("MLP", embed_dim=embed_dim)
        hidden_dim = 4 * embed_dim if hidden_dim is None else hidden_dim
        self.activation = check_activation("MLP", activation)
        self.up = Linear(embed_dim, hidden_dim, bias, dtype)
        self.down = Linear(hidden_dim, embed_dim, bias, dtype)

    def forward(self, x: pf.Tensor, residual: pf.Tensor | None = None) -> pf.Tensor:
        """down(activation(up(x))) + residual."""
        return mlp(x, self.up, self.down, self.activation, residual=residual)


class TransformerBlock(Module):
    """x + attention(norm(x)), then x + mlp(norm(x)): (B, T, C) -> (B, T, C).

    With `norm_first=False` it is norm(x + attention(x)) and so on, as in the first paper. With `cross_attention`,
    attention to a context stands between the two.

    Args:
        embed_dim: C.
        num_heads, num_kv_heads: as in `MultiHeadAttention`.
        hidden_dim: of the MLP, 4 C by default.
        causal: position i sees positions up to i only.
        cross_attention: whether there is attention to a context.
        activation: "gelu", "gelu_tanh", "relu", "silu", "tanh" or "sigmoid".
        norm: "layer" or "rms".
        norm_first: normalise before each part, not after it.
        eps: of the norms, theirs by default.
        dropout: probability, on what each part adds.
        bias: whether the linear maps have biases.
        dtype: of the parameters, float32 by default.

    Raises:
        ValueError: a size or a name does not fit.
        TypeError: a size is no int.

    Source: Vaswani et al. 2017, "Attention Is All You Need"; Xiong et al. 2020, "On layer normalization in the
    transformer architecture".

    Example:
        >>> block = pf.nn.TransformerBlock(16, 4, causal=True)
        >>> block(pf.zeros(2, 5, 16)).shape
        (2, 5, 16)
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        num_kv_heads: int | None = None,
        hidden_dim: int | None = None,
        *,
        causal: bool = False,
        cross_attention: bool = False,
        activation: str = "gelu",
        norm: str = "layer",
        norm_first: bool = True,
        eps: float | None = None,
        dropout: float = 0.0,
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if norm not in ("layer", "rms"):
            raise ValueError(f"TransformerBlock: norm must be 'layer' or 'rms', got {norm!r}")
        options = {"dtype": dtype} if eps is None else {"dtype": dtype, "eps": eps}
        make_norm = partial(LayerNorm if norm == "layer" else RMSNorm, embed_dim, **options)
        self.norm_first = bool(norm_first)
        self.attention_norm = make_norm()
        self.attention = MultiHeadAttention(embed_dim, num_heads, num_kv_heads, causal=causal, bias=bias, dtype=dtype)
        self.cross_norm = make_norm() if cross_attention else None
        self.cross = None
        if cross_attention:
            self.cross = MultiHeadAttention(embed_dim, num_heads, num_kv_heads, bias=bias, dtype=dtype)
        self.mlp_norm = make_norm()
        self.mlp = MLP(embed_dim, hidden_dim, activation, bias, dtype)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: pf.Tensor,
        context: pf.Tensor | tuple[pf.Tensor, pf.Tensor] | None = None,
        *,
        key_lengths: pf.Tensor | None = None,
        context_lengths: pf.Tensor | None = None,
        mask: pf.Tensor | None = None,
        return_weights: bool = False,
        cache: LayerCache | None = None,
    ) -> pf.Tensor | tuple[pf.Tensor, ...]:
        """(B, T, C) -> (B, T, C).

        `key_lengths` and `mask` concern x, `context_lengths` the rows of `context`, of which each may serve several
        rows of x in turn. What lies beyond the lengths may hold anything, also NaN, and is read as zeros. `context`,
        `mask` and `cache` are as in `MultiHeadAttention`. With `return_weights` the attention weights (B, H, T, T)
        follow, and those to the context.

        Raises:
            ValueError: `context` is given to a block without cross-attention, or not given to
                one that has it.
        """
        if (self.cross is None) != (context is None):
            need = "no context" if self.cross is None else "a context"
            raise ValueError(f"TransformerBlock: expected {need} for this block")
        if cache is None:
            x = within_lengths(x, key_lengths)
        want, shape = {"return_weights": return_weights}, x.shape
        where = {"key_lengths": key_lengths, "mask": mask, "cache": cache}
        x, *weights = self._sublayer(x, self.attention_norm, self.attention, **where, **want)
        if self.cross is not None:
            where = {"context": context, "key_lengths": context_lengths}
            sources = (context[0] if isinstance(context, tuple) else context).shape[0]
            x = x.reshape(sources, -1, shape[2])
            x, *more = self._sublayer(x, self.cross_norm, self.cross, **where, **want)
            x = x.reshape(*shape)
            weights += more
        (x,) = self._sublayer(x, self.mlp_norm, self.mlp)
        return (x, *weights) if return_weights else x

    def _sublayer(self, x: pf.Tensor, norm: Module, layer: Any, **options: Any) -> tuple[pf.Tensor, ...]:
        """(x + layer, normalised before or after, and what else the layer gives)."""
        fused = not self.dropout.active
        out = layer(norm(x) if self.norm_first else x, residual=x if fused else None, **options)
        out, *rest = out if isinstance(out, tuple) else (out,)
        x = out if fused else x + self.dropout(out)
        return (x if self.norm_first else norm(x), *rest)
