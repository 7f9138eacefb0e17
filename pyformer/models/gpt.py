"""GPT-2: Radford et al., "Language Models are Unsupervised Multitask Learners" (2019).

Learned positions, pre-norm blocks, one matrix for the embedding and the last projection. Names of
parameters are those of Hugging Face's files, without the prefix `transformer.`; their linear
weights are stored (in, out) there and held (out, in) here.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from functools import partial

import pyformer as pf
from pyformer import nn, ops
from pyformer.formats.hf import gpt2
from pyformer.models.config import Config
from pyformer.models.language_model import LanguageModel, Span
from pyformer.nn.cache import LayerCache
from pyformer.nn.transformer import check_activation

# Forward keeps at least these bytes, 8 floats, of each token, channel and block; 10 floats were measured.
KEPT_BYTES = 8 * 4


@dataclass(frozen=True)
class GPTConfig(Config):
    """The shape of a GPT.

    Args:
        vocab_size: V, how many tokens there are.
        context_length: the most tokens of a text.
        num_layers, num_heads: blocks, and heads in each; num_heads divides embed_dim.
        embed_dim: C, the width.
        dropout: probability, on the embeddings and on what each part of a block adds.
        layer_norm_epsilon: added to variances.
        activation: one of `nn.transformer.ACTIVATIONS`.
        bos_token_id, eos_token_id: kept for files and for `generate`'s callers; eos_token_id may be a list.
        tied: the embedding is the last projection, too, as in GPT-2; False for a projection of its own.

    Raises:
        ValueError: a value makes no model.
        TypeError: a value is of the wrong type.

    Example:
        >>> config = pf.models.GPTConfig(vocab_size=65, context_length=64, num_layers=4, num_heads=4, embed_dim=128)
        >>> pf.models.GPT(config).num_parameters()
        809856
    """

    vocab_size: int
    context_length: int
    num_layers: int
    num_heads: int
    embed_dim: int
    dropout: float = 0.0
    layer_norm_epsilon: float = 1e-5
    activation: str = "gelu_tanh"
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    tied: bool = True

    def __post_init__(self) -> None:
        self._check_sizes("vocab_size", "context_length", "num_layers", "num_heads", "embed_dim")
        self._check_divides("num_heads", "embed_dim")
        self._check_probability("dropout")
        self._check_number("layer_norm_epsilon")
        if not 0.0 < self.layer_norm_epsilon <= sys.float_info.max:
            raise ValueError(f"GPTConfig: layer_norm_epsilon must be above 0 and finite, got {self.layer_norm_epsilon}")
        check_activation("GPTConfig", self.activation)
        self._check_tokens("bos_token_id", "eos_token_id")

    def kept_bytes(self, batch: int) -> int:
        return KEPT_BYTES * batch * self.context_length * self.embed_dim * self.num_layers


class Attention(nn.Module):
    """Causal self-attention whose queries, keys and values come of one matrix."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.c_attn = nn.Linear(config.embed_dim, 3 * config.embed_dim)
        self.c_proj = nn.Linear(config.embed_dim, config.embed_dim)

    def mix(
        self,
        x: pf.Tensor,
        norm: nn.LayerNorm,
        span: Span,
        weights: list[pf.Tensor] | None = None,
        cache: LayerCache | None = None,
    ) -> pf.Tensor:
        """What each token of x (B, T, C) gathers, (B, T, C), before `c_proj`."""
        qkv = self.c_attn(x, norm=norm).reshape(*x.shape[:2], 3, self.num_heads, -1)
        if cache is None:
            mixed = ops.attention_packed(qkv, **span.reach)
        else:
            keys, values = cache.append(qkv[:, :, 1], qkv[:, :, 2])
            mixed = ops.attention(qkv[:, :, 0], keys, values, **span.reach)
        if weights is not None:
            weights.append(nn.attention_weights(qkv[:, :, 0], qkv[:, :, 1], **span.reach))
        return mixed.reshape(*x.shape)


class FeedForward(nn.Module):
    """The two projections of a block's MLP."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.activation = config.activation
        self.c_fc = nn.Linear(config.embed_dim, 4 * config.embed_dim)
        self.c_proj = nn.Linear(4 * config.embed_dim, config.embed_dim)

    def forward(self, x: pf.Tensor, norm: nn.LayerNorm, residual: pf.Tensor | None = None) -> pf.Tensor:
        """c_proj(activation(c_fc(norm(x)))) + residual, (..., C) -> (..., C)."""
        return nn.mlp(x, self.c_fc, self.c_proj, self.activation, norm=norm, residual=residual)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.embed_dim, eps=config.layer_norm_epsilon)
        self.attn = Attention(config)
        self.ln_2 = nn.LayerNorm(config.embed_dim, eps=config.layer_norm_epsilon)
        self.mlp = FeedForward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x: pf.Tensor,
        span: Span,
        weights: list[pf.Tensor] | None = None,
        cache: LayerCache | None = None,
    ) -> pf.Tensor:
        """(B, T, C) -> (B, T, C). Attention weights (B, H, T, T) are appended to the list `weights`.

        With `cache` the tokens also see those that are in it.
        """
        mixed = self.attn.mix(x, self.ln_1, span, weights, cache)
        if not self.dropout.active:  # the sums are then part of the products
            x = self.attn.c_proj(mixed, residual=x)
            return self.mlp(x, self.ln_2, residual=x)
        x = x + self.dropout(self.attn.c_proj(mixed))
        return x + self.dropout(self.mlp(x, self.ln_2))


class GPT(LanguageModel):
    """A GPT-2 language model: learned positions, pre-norm blocks, the embedding as the last projection.

    Freshly initialised from `pf.manual_seed`'s stream, float32. `from_pretrained` gives float32 weights, also of a
    16-bit file, unless told otherwise; with bfloat16 weights it computes as in `pf.autocast`. `model(ids)`
    gives logits (B, T, V), `model.loss(ids, targets)` a scalar, `model.generate(prompts, n)` text.

    Args:
        config: a GPTConfig.
        recompute: a training step keeps only the input of each block and computes the block again in backward: less
            memory, about a third more time, the same bits.

    Raises:
        TypeError: config is no GPTConfig; later, ids are no integers.
        ValueError: later, a text exceeds the context length.
        IndexError: later, an id is not in [0, V).

    Source: Radford et al. 2019, "Language models are unsupervised multitask learners".

    Example:
        >>> pf.manual_seed(0)
        >>> model = pf.models.GPT(pf.models.GPTConfig(10, 8, num_layers=1, num_heads=2, embed_dim=8))
        >>> ids = np.array([[1, 2, 3, 4]])
        >>> model(ids[:, :-1]).shape, round(model.loss(ids[:, :-1], ids[:, 1:]).item(), 2)
        ((1, 3, 10), 2.28)
        >>> model.eval().generate([[1, 2]], max_new_tokens=3, temperature=0).shape
        (1, 5)
    """

    config_class = GPTConfig
    layout = gpt2.LAYOUT

    def __init__(self, config: GPTConfig, *, recompute: bool = False) -> None:
        super().__init__(config)
        self.recompute = recompute
        with nn.init.skip():
            self.wte = nn.Embedding(config.vocab_size, config.embed_dim)
            self.wpe = nn.Embedding(config.context_length, config.embed_dim)
            self.dropout = nn.Dropout(config.dropout)
            self.h = nn.ModuleList(Block(config) for _ in range(config.num_layers))
            self.ln_f = nn.LayerNorm(config.embed_dim, eps=config.layer_norm_epsilon)
            self.lm_head = None if config.tied else nn.Linear(config.embed_dim, config.vocab_size, bias=False)
        self._initialise()

    def _initialise(self) -> None:
        """Weights normal with 0.02, those that add to the residual stream with 0.02 / sqrt(2 L)."""
        for name, parameter in self.named_parameters():
            if name.endswith(".bias"):
                nn.init.zeros_(parameter)
            elif parameter.ndim == 2:
                residual = name.endswith("c_proj.weight")
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * self.config.num_layers) if residual else 0.02)

    @property
    def head(self) -> nn.Projection:
        return self.wte if self.lm_head is None else self.lm_head

    def hidden_at(
        self, ids: pf.Tensor, span: Span, weights: list[pf.Tensor] | None = None, cache: nn.KVCache | None = None
    ) -> pf.Tensor:
        """What the last projection sees, (B, T, C), as `LanguageModel.hidden_at` says."""
        x = self.dropout(self.wte(ids) + self.wpe(span.places))
        for layer, block in enumerate(self.h):
            if cache is not None:
                x = block(x, span, weights, cache[layer])
            elif self.recompute and self.training and weights is None:
                x = pf.checkpoint(partial(block, span=span), x)
            else:
                x = block(x, span, weights)
        return self.ln_f(x)
