"""What T5's stacks are made of: attention with biases of distances, gated MLPs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import nn, ops
from pyformer.float_mode import in_default_float_mode
from pyformer.nn.attention import attention_of_scores, within_lengths
from pyformer.nn.cache import LayerCache


class DistanceAttention(nn.Module):
    """Attention without a scale: to x itself with biases of distances, or to a context."""

    def __init__(self, config: Any, *, causal: bool = False, first: bool = False) -> None:
        super().__init__()
        width = config.num_heads * config.head_dim
        self.num_heads = self.num_kv_heads = config.num_heads
        self.head_dim, self.causal, self.max_distance = config.head_dim, causal, config.max_distance
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(config.embed_dim, width, bias=False) for _ in range(3))
        self.out_proj = nn.Linear(width, config.embed_dim, bias=False)
        # The first layer of a stack holds the table of distances that all its layers use.
        self.distances = nn.Embedding(config.num_buckets, config.num_heads) if first else None

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
    ) -> Any:
        """As `nn.MultiHeadAttention` says; `mask` is of floats, is added to the scores and gets a gradient."""
        if context is None and cache is None:
            x = within_lengths(x, key_lengths)
        elif isinstance(context, pf.Tensor):
            context = within_lengths(context, key_lengths)
        q = self._heads(self.q_proj(x))
        k, v = context if isinstance(context, tuple) else self.project(x if context is None else context)
        if cache is None:
            offset = None if key_lengths is None else pf.zeros(x.shape[0], dtype=pf.int64, device=x.device)
            reach = {"key_lengths": key_lengths, "query_offset": offset}
        else:
            k, v = cache.append(k, v)
            reach = cache.reach
        where = {"mask": mask, "causal": self.causal, "scale": 1.0, **reach}
        mixed = ops.attention(q, k, v, **where) if mask is None else attention_of_scores(q, k, v, **where)
        out = self.out_proj(mixed.reshape(*x.shape[:2], -1), residual=residual)
        return (out, nn.attention_weights(q, k, **where)) if return_weights else out

    def project(self, context: pf.Tensor) -> tuple[pf.Tensor, pf.Tensor]:
        """Keys and values (B, Tk, H, D) of `context` (B, Tk, C)."""
        return self._heads(self.k_proj(context)), self._heads(self.v_proj(context))

    def score_bias(self, positions: np.ndarray, keys: int) -> pf.Tensor:
        """What is added to the scores (1, H, Tq, keys) of queries at `positions` (Tq,), by how far the keys are."""
        table = self.distances
        found = buckets(positions, keys, not self.causal, table.num_embeddings, self.max_distance)
        return table(found.to(table.device)).transpose(2, 0, 1).reshape(1, self.num_heads, len(positions), keys)

    def _heads(self, x: pf.Tensor) -> pf.Tensor:
        return x.reshape(*x.shape[:2], self.num_heads, self.head_dim)


@in_default_float_mode
def buckets(positions: np.ndarray, keys: int, both_sides: bool, count: int, max_distance: int) -> pf.Tensor:
    """The number (Tq, keys), int64, of the group of distances in which each key is from each query.

    Near distances have a group each, farther ones share theirs, wider and wider up to `max_distance`. With
    `both_sides` half of the `count` groups are those of the keys that follow; else these count as distance 0.
    """
    places = pf.tensor(positions, device="cpu").reshape(-1, 1)
    ahead = pf.arange(keys, device="cpu") - places
    if both_sides:
        count //= 2
        start, distance = ops.where(ahead > 0, pf.tensor(count, device="cpu"), 0), ops.abs(ahead)
    else:
        start, distance = 0, ops.maximum(-ahead, 0)
    near = count // 2
    # Computed in float32 as the first implementation does: at the edges of groups a rounding decides.
    ratio = ops.log(ops.maximum(distance, 1).to(pf.float32) / near) / math.log(max_distance / near)
    far = ops.minimum((ratio * (count - near)).to(pf.int64) + near, count - 1)
    return ops.where(distance < near, distance, far) + start


class GatedMLP(nn.Module):
    """down(activation(gate(x)) * value(x)) (Shazeer 2020)."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.activation = config.activation
        self.gate, self.value = (nn.Linear(config.embed_dim, config.hidden_dim, bias=False) for _ in range(2))
        self.down = nn.Linear(config.hidden_dim, config.embed_dim, bias=False)

    def forward(self, x: pf.Tensor, residual: pf.Tensor | None = None) -> pf.Tensor:
        """(..., C) -> (..., C), plus `residual`."""
        return self.down(self.gate(x, activation=self.activation) * self.value(x), residual=residual)


class T5Block(nn.TransformerBlock):
    """A `TransformerBlock` of T5's parts; its mask is what `DistanceAttention.score_bias` gives."""

    def __init__(self, config: Any, *, decodes: bool, first: bool) -> None:
        nn.Module.__init__(self)  # not TransformerBlock's: T5 is made of other parts
        width, eps = config.embed_dim, config.norm_epsilon
        self.norm_first = True
        self.attention_norm = nn.RMSNorm(width, eps=eps)
        self.attention = DistanceAttention(config, causal=decodes, first=first)
        self.cross_norm = nn.RMSNorm(width, eps=eps) if decodes else None
        self.cross = DistanceAttention(config) if decodes else None
        self.mlp_norm = nn.RMSNorm(width, eps=eps)
        plain = not config.gated
        self.mlp = nn.MLP(width, config.hidden_dim, config.activation, bias=False) if plain else GatedMLP(config)
        self.dropout = nn.Dropout(config.dropout)
