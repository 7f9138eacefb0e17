"""GPT-2: Radford et al., "Language Models are Unsupervised Multitask Learners" (2019).

Learned positions, pre-norm blocks, one matrix for the embedding and the last projection. Names of
parameters are those of Hugging Face's files, without the prefix `transformer.`; their linear
weights are stored (in, out) there and held (out, in) here.
"""

from __future__ import annotations

import logging
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import _core, formats, nn, ops
from pyformer.formats.hf import OUR_ACTIVATIONS, read_activation
from pyformer.models.language_model import LanguageModel
from pyformer.nn.layers import check_probability, check_sizes
from pyformer.nn.transformer import check_activation

log = logging.getLogger(__name__)

# Packing the weights reads and writes each of them once, as much as a few tokens do.
PACK_FROM_TOKENS = 4

# Settings that change the computation, with the only value that is implemented.
_HF_FIXED = {
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}
_HF_KNOWN = {
    *_HF_FIXED,
    *("model_type", "architectures", "vocab_size", "n_positions", "n_ctx", "n_embd", "n_layer"),
    *("n_head", "n_inner", "activation_function", "layer_norm_epsilon", "resid_pdrop"),
    *("embd_pdrop", "attn_pdrop", "bos_token_id", "eos_token_id", "pad_token_id", "torch_dtype"),
    *("dtype", "transformers_version", "initializer_range", "use_cache", "_name_or_path"),
    *("reorder_and_upcast_attn", "task_specific_params", "summary_type", "summary_use_proj"),
    *("summary_activation", "summary_proj_to_labels", "summary_first_dropout", "output_past"),
    "gradient_checkpointing",
}
_STORED_TRANSPOSED = re.compile(r"\.(c_attn|c_proj|c_fc)\.weight$")
_OLD_BUFFERS = re.compile(r"^h\.\d+\.attn\.(bias|masked_bias)$")


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT. `activation` is "gelu_tanh", "gelu", "relu" or "silu".

    Raises TypeError or ValueError for values that make no model.
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
    eos_token_id: int | None = None

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "context_length", "num_layers", "num_heads", "embed_dim")
        check_sizes("GPTConfig", **{name: getattr(self, name) for name in sizes})
        if self.embed_dim % self.num_heads:
            raise ValueError(f"GPTConfig: num_heads ({self.num_heads}) must divide embed_dim ({self.embed_dim})")
        check_probability("GPTConfig", "dropout", self.dropout)
        epsilon = self.layer_norm_epsilon
        if isinstance(epsilon, bool) or not isinstance(epsilon, (int, float)):
            raise TypeError(f"GPTConfig: layer_norm_epsilon must be a number, got {type(epsilon).__name__}")
        if not 0.0 < epsilon <= sys.float_info.max:
            raise ValueError(f"GPTConfig: layer_norm_epsilon must be above 0 and finite, got {epsilon}")
        check_activation("GPTConfig", self.activation)
        for name in ("bos_token_id", "eos_token_id"):
            token = getattr(self, name)
            if token is not None and (isinstance(token, bool) or not isinstance(token, int)):
                raise TypeError(f"GPTConfig: {name} must be an int, got {type(token).__name__}")

    def to_hf(self) -> dict[str, Any]:
        """The content of config.json as `transformers` reads it."""
        return {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "vocab_size": self.vocab_size,
            "n_positions": self.context_length,
            "n_embd": self.embed_dim,
            "n_layer": self.num_layers,
            "n_head": self.num_heads,
            "activation_function": OUR_ACTIVATIONS[self.activation],
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "resid_pdrop": self.dropout,
            "embd_pdrop": self.dropout,
            "attn_pdrop": 0.0,
            "tie_word_embeddings": True,
            # Left out, they would become 50256, whatever the vocabulary.
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_token_id,
        }

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> GPTConfig:
        """Reads the content of a GPT-2 config.json; keys with no meaning here are logged.

        Raises:
            ValueError: a key is missing, or asks for a variant that isn't implemented.
            TypeError: a value has the wrong type.
        """
        for name, value in _HF_FIXED.items():
            if config.get(name, value) is not value:
                raise ValueError(f"GPT: {name} must be {value}, got {config[name]!r}")
        if config.get("model_type") != "gpt2":
            raise ValueError(f"GPT: model_type must be 'gpt2', got {config.get('model_type')!r}")
        unknown = sorted(set(config) - _HF_KNOWN)
        if unknown:
            log.warning("config.json has keys that are ignored: %s", ", ".join(unknown[:20]))
        names = ("vocab_size", "n_positions", "n_layer", "n_head", "n_embd")
        missing = [name for name in names if name not in config]
        if missing:
            raise ValueError(f"GPT: config.json lacks {', '.join(missing)}")
        result = cls(
            *(config[name] for name in names),
            dropout=config.get("resid_pdrop", 0.0),
            layer_norm_epsilon=config.get("layer_norm_epsilon", 1e-5),
            activation=read_activation("GPT", "activation_function", config.get("activation_function", "gelu_new")),
            bos_token_id=config.get("bos_token_id"),
            eos_token_id=config.get("eos_token_id"),
        )
        if config.get("n_inner") not in (None, 4 * result.embed_dim):
            raise ValueError(f"GPT: n_inner must be {4 * result.embed_dim}, got {config['n_inner']!r}")
        return result

    def parameter_shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """(name, shape) of every parameter, before any is made."""
        width = self.embed_dim
        yield "wte.weight", (self.vocab_size, width)
        yield "wpe.weight", (self.context_length, width)
        for layer in range(self.num_layers):
            for name, shape in (
                ("ln_1.weight", (width,)),
                ("ln_1.bias", (width,)),
                ("attn.c_attn.weight", (3 * width, width)),
                ("attn.c_attn.bias", (3 * width,)),
                ("attn.c_proj.weight", (width, width)),
                ("attn.c_proj.bias", (width,)),
                ("ln_2.weight", (width,)),
                ("ln_2.bias", (width,)),
                ("mlp.c_fc.weight", (4 * width, width)),
                ("mlp.c_fc.bias", (4 * width,)),
                ("mlp.c_proj.weight", (width, 4 * width)),
                ("mlp.c_proj.bias", (width,)),
            ):
                yield f"h.{layer}.{name}", shape
        yield "ln_f.weight", (width,)
        yield "ln_f.bias", (width,)


class Attention(nn.Module):
    """The two projections of a block's self-attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)


class FeedForward(nn.Module):
    """The two projections of a block's MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(
        self, x: pf.Tensor, norm: nn.LayerNorm, activation: str, residual: pf.Tensor | None = None
    ) -> pf.Tensor:
        """c_proj(activation(c_fc(norm(x)))) + residual, (..., C) -> (..., C)."""
        return ops.mlp(
            x,
            self.c_fc.weight,
            self.c_fc.bias,
            self.c_proj.weight,
            self.c_proj.bias,
            activation=activation,
            norm="layer",
            norm_weight=norm.weight,
            norm_bias=norm.bias,
            eps=norm.eps,
            residual=residual,
        )


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.num_heads, self.activation = config.num_heads, config.activation
        self.ln_1 = nn.LayerNorm(config.embed_dim, eps=config.layer_norm_epsilon)
        self.attn = Attention(config.embed_dim)
        self.ln_2 = nn.LayerNorm(config.embed_dim, eps=config.layer_norm_epsilon)
        self.mlp = FeedForward(config.embed_dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x: pf.Tensor,
        lengths: pf.Tensor | None = None,
        offsets: pf.Tensor | None = None,
        weights: list[pf.Tensor] | None = None,
    ) -> pf.Tensor:
        """(B, T, C) -> (B, T, C). Keys of row b end at lengths[b]; offsets are then zeros (B,).

        Attention weights (B, H, T, T) are appended to the list `weights`.
        """
        norm, into, out = self.ln_1, self.attn.c_attn, self.attn.c_proj
        qkv = self._heads(ops.norm_linear(x, norm.weight, norm.bias, into.weight, into.bias, eps=norm.eps))
        where = {"causal": True, "key_lengths": lengths, "query_offset": offsets}
        mixed = ops.attention_packed(qkv, **where)
        if weights is not None:
            weights.append(nn.attention_weights(qkv[:, :, 0], qkv[:, :, 1], **where))
        x = self._add(x, partial(out, mixed.reshape(*x.shape)))
        return self._add(x, partial(self.mlp, x, self.ln_2, self.activation))

    def extend(
        self,
        x: pf.Tensor,
        layer: CachedLayer,
        positions: pf.Tensor,
        lengths: pf.Tensor,
    ) -> pf.Tensor:
        """`forward` of new tokens that start at positions[b] and also see those in the cache."""
        qkv = self._heads(layer.qkv(self.ln_1(x)))
        _core.cache_append_(layer.keys, qkv[:, :, 1], positions)
        _core.cache_append_(layer.values, qkv[:, :, 2], positions)
        mixed = ops.attention(
            qkv[:, :, 0],
            layer.keys,
            layer.values,
            causal=True,
            key_lengths=lengths,
            query_offset=positions,
        )
        x = layer.proj(mixed.reshape(*x.shape), residual=x)
        hidden = layer.fc(self.ln_2(x), activation=self.activation)
        return layer.out(hidden, residual=x)

    def _heads(self, qkv: pf.Tensor) -> pf.Tensor:
        batch, tokens, width = qkv.shape
        return qkv.reshape(batch, tokens, 3, self.num_heads, width // (3 * self.num_heads))

    def _add(self, x: pf.Tensor, branch: Callable[..., pf.Tensor]) -> pf.Tensor:
        if self.training and self.dropout.p > 0.0:
            return x + self.dropout(branch())
        return branch(residual=x)


class GPT(LanguageModel):
    """A GPT-2 language model, freshly initialised from `pf.manual_seed`'s stream, float32.

    bfloat16 and float16, by `to` or a file, are for storage only on the CPU: such a model can be saved, loaded and
    cast back with `to(pf.float32)`; running it is a TypeError. `from_pretrained` casts them to float32.

    With `recompute`, a training step keeps only the input of each block and computes the block
    again in backward: less memory, about a third more time, the same bits.
    """

    def __init__(self, config: GPTConfig, *, recompute: bool = False) -> None:
        super().__init__()
        if not isinstance(config, GPTConfig):
            raise TypeError(f"GPT: expected a GPTConfig, got {type(config).__name__}")
        self.config, self.recompute = config, recompute
        with nn.init.skip():
            self._build(config)
        if not nn.init.skipped():
            self._initialise()

    def _build(self, config: GPTConfig) -> None:
        self.wte = nn.Embedding(config.vocab_size, config.embed_dim)
        self.wpe = nn.Embedding(config.context_length, config.embed_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.h = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.ln_f = nn.LayerNorm(config.embed_dim, eps=config.layer_norm_epsilon)

    def _initialise(self) -> None:
        """Weights normal with 0.02, those that add to the residual stream with 0.02 / sqrt(2 L)."""
        with pf.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith(".bias"):
                    _core.zero_([parameter])
                elif parameter.ndim == 2:
                    residual = name.endswith("c_proj.weight")
                    std = 0.02 / math.sqrt(2 * self.config.num_layers) if residual else 0.02
                    values = pf.randn(*parameter.shape, dtype=parameter.dtype) * std
                    _core.copy_([parameter], [values])

    @property
    def head_weight(self) -> pf.Tensor:
        """The last projection, (V, C): the embedding's matrix."""
        return self.wte.weight

    def decoder(self, rows: int, length: int, new_tokens: int) -> CachedGPT:
        """A `generation.Decoder` for `rows` prompts."""
        return CachedGPT(self, rows, length, new_tokens)

    def hidden(self, ids: Any, lengths: Any = None, weights: list[pf.Tensor] | None = None) -> pf.Tensor:
        """What the last projection sees, (B, T, C); each layer appends its attention weights to `weights`."""
        ids, lengths, offsets = self.read_inputs(ids, lengths)
        x = self.wte(ids) + self.wpe(self.on_device(np.arange(ids.shape[1], dtype=np.int64)))
        x = self.dropout(x)
        for block in self.h:
            if self.recompute and self.training and weights is None:
                x = pf.checkpoint(partial(block, lengths=lengths, offsets=offsets), x)
            else:
                x = block(x, lengths, offsets, weights)
        return self.ln_f(x)

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Writes config.json and model.safetensors, which `transformers`' GPT2LMHeadModel opens.

        Both replace older files only when complete.

        Raises:
            OSError: the folder can't be written or the disk is full.
        """
        config = {**self.config.to_hf(), "torch_dtype": _name_of(self.wte.weight.dtype)}
        with pf.no_grad():
            state = {f"transformer.{k}": _stored(k, t) for k, t in self.state_dict().items()}
            formats.save_model(folder, config, state)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike, *, dtype: Any = None, recompute: bool = False) -> GPT:
        """Opens a folder of `save_pretrained` or of Hugging Face's GPT-2, in evaluation mode.

        `dtype` defaults to float64 for a float64 file and to float32 otherwise. Names, shapes and
        dtypes are checked against config.json before memory is taken.

        Raises:
            FileNotFoundError: config.json or model.safetensors is missing.
            ValueError: a file is damaged, or the two don't fit together.
            TypeError: a value in config.json or a tensor has the wrong type.
        """
        config = GPTConfig.from_hf(formats.read_config(folder))
        path = Path(folder) / formats.WEIGHTS_NAME
        if not path.is_file():
            raise FileNotFoundError(f"{folder}: no {formats.WEIGHTS_NAME} here")
        entries, _ = formats.read_header(path)
        names = match_entries(path, config, entries)
        with nn.init.skip():
            model = cls(config, recompute=recompute)
        if dtype is None:
            dtype = pf.float64 if entries[names["wte.weight"]].dtype == "F64" else pf.float32
        model.to(dtype)
        with pf.no_grad(), open(path, "rb") as file:
            for name, parameter in model.named_parameters():
                value = formats.read_tensor(file, entries[names[name]]).to(parameter.dtype)
                _core.copy_([parameter], [_stored(name, value)])
        model.eval()
        return model


@dataclass(frozen=True)
class CachedLayer:
    """What generation needs of a block: its linear maps and the keys and values so far, (B, length, H, D)."""

    qkv: Callable
    proj: Callable
    fc: Callable
    out: Callable
    keys: pf.Tensor
    values: pf.Tensor


class CachedGPT:
    """A `generation.Decoder` over a GPT. All state of a generation is here, none in the model."""

    def __init__(self, model: GPT, rows: int, length: int, new_tokens: int) -> None:
        model.check_computable()
        self.model = model
        weight = model.wte.weight
        pack = _core.PackedLinear if new_tokens >= PACK_FROM_TOKENS else _unpacked
        self.head = pack(weight)
        heads = model.config.num_heads
        shape = (rows, length, heads, model.config.embed_dim // heads)
        self.layers = [
            CachedLayer(
                pack(block.attn.c_attn.weight, block.attn.c_attn.bias),
                pack(block.attn.c_proj.weight, block.attn.c_proj.bias),
                pack(block.mlp.c_fc.weight, block.mlp.c_fc.bias),
                pack(block.mlp.c_proj.weight, block.mlp.c_proj.bias),
                pf.zeros(shape, dtype=weight.dtype, device=weight.device),
                pf.zeros(shape, dtype=weight.dtype, device=weight.device),
            )
            for block in model.h
        ]

    def extend(self, ids: np.ndarray, positions: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Logits (B, V) after the last token of each row, as `generation.Decoder` says."""
        model = self.model
        rows, tokens = ids.shape
        places = positions[:, None] + np.arange(tokens)
        x = model.wte(model.on_device(ids)) + model.wpe(model.on_device(places))
        starts, ends = model.on_device(positions), model.on_device(lengths)
        for block, layer in zip(model.h, self.layers, strict=True):
            x = block.extend(x, layer, starts, ends)
        x = x.reshape(rows * tokens, -1)
        if tokens > 1:
            last = np.arange(rows) * tokens + (lengths - positions - 1)
            x = ops.embedding(model.on_device(last), x)
        return self.head(model.ln_f(x)).to("cpu").numpy()


def _unpacked(weight: pf.Tensor, bias: pf.Tensor | None = None) -> Callable:
    return partial(ops.linear, weight=weight, bias=bias)


def _stored(name: str, tensor: pf.Tensor) -> pf.Tensor:
    return tensor.T if _STORED_TRANSPOSED.search(name) else tensor


def _name_of(dtype: Any) -> str:
    names = ("float32", "float64", "bfloat16", "float16")
    return next(name for name in names if dtype == getattr(pf, name))


def match_entries(path: Path, config: GPTConfig, entries: Mapping[str, formats.Entry]) -> dict[str, str]:
    """Name in the file of each parameter, after checking all of them against the config.

    ValueError or TypeError if the file at `path` doesn't hold just the parameters that the config means.
    """
    expected = 12 * config.num_layers + 4
    # Before counting to an absurd number of layers.
    if expected > len(entries):
        raise ValueError(f"{path}: config.json means {expected} tensors, got {len(entries)}")
    in_file = {name.removeprefix("transformer."): name for name in entries}
    if len(in_file) != len(entries):
        raise ValueError(f"{path}: names with and without the prefix 'transformer.' repeat")
    shapes = dict(config.parameter_shapes())
    extra = [n for n in in_file if n not in shapes and not _is_redundant(n)]
    missing = [n for n in shapes if n not in in_file]
    if missing or extra:
        raise ValueError(f"{path}: missing tensors {missing[:5]}, unexpected {extra[:5]}")
    for name, shape in shapes.items():
        entry = entries[in_file[name]]
        stored = shape[::-1] if _STORED_TRANSPOSED.search(name) else shape
        if entry.shape != stored:
            raise ValueError(f"{path}: {name} must be {stored}, got {entry.shape}")
        if entry.dtype not in ("F64", "F32", "F16", "BF16"):
            raise TypeError(f"{path}: {name} must be of a float dtype, got {entry.dtype}")
    return in_file


def _is_redundant(name: str) -> bool:
    """Causal masks of old files, and the last projection, which repeats the embedding."""
    return name == "lm_head.weight" or _OLD_BUFFERS.match(name) is not None
