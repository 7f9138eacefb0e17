"""Layers with parameters, activations and containers. dtype None means float32."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pyformer as pf
from pyformer import _core, ops
from pyformer.nn import init
from pyformer.nn.module import Module, inferring

_packing = threading.Lock()
MAX_LAYERS = 10_000  # a model is built layer by layer: a number that slipped would keep Python busy for days


def check_sizes(owner: str, **sizes: int) -> None:
    """Raises TypeError or ValueError unless every size is an int of at least 1; layers are at most MAX_LAYERS."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError(f"{owner}: {name} must be an int, got {type(size).__name__}")
        if size < 1:
            raise ValueError(f"{owner}: {name} must be at least 1, got {size}")
        if name.endswith("layers") and size > MAX_LAYERS:
            raise ValueError(f"{owner}: {name} must be at most {MAX_LAYERS}, got {size}")


def check_probability(owner: str, name: str, p: float) -> float:
    """`p` as a float; ValueError unless 0 <= p < 1."""
    if isinstance(p, bool) or not isinstance(p, (int, float)):
        raise TypeError(f"{owner}: {name} must be a number, got {type(p).__name__}")
    if not 0.0 <= p < 1.0:
        raise ValueError(f"{owner}: {name} must be in [0, 1), got {p}")
    return float(p)


def check_eps(owner: str, eps: float) -> float:
    """`eps` as a float; ValueError unless it is finite and at least 0."""
    if isinstance(eps, bool) or not isinstance(eps, (int, float)):
        raise TypeError(f"{owner}: eps must be a number, got {type(eps).__name__}")
    if not 0.0 <= eps <= sys.float_info.max:
        raise ValueError(f"{owner}: eps must be >= 0 and finite, got {eps}")
    return float(eps)


class Projection(Module):
    """Base of what multiplies by a matrix `weight` (out, in); the one place that decides in which form it is read.

    `pack` adds a copy that many small products read fastest. It serves while no gradient is recorded, follows writes
    into the weight, and goes when training goes on; it is neither copied nor pickled. The bits are the same.
    """

    weight: pf.Tensor
    bias: pf.Tensor | None = None
    _packed: tuple[_core.PackedLinear, pf.Tensor, pf.Tensor | None] | None = None

    @property
    def dtype(self) -> pf.DType:
        """The weight's."""
        return self.weight.dtype

    @property
    def device(self) -> str:
        """The weight's."""
        return self.weight.device

    def pack(self) -> _core.PackedLinear:
        """Makes the packed copy, unless there is one of the tensors that are here now."""
        with _packing:
            kept = self._packed
            if kept is None or kept[1] is not self.weight or kept[2] is not self.bias:
                kept = (_core.PackedLinear(self.weight, self.bias), self.weight, self.bias)
                object.__setattr__(self, "_packed", kept)
            return kept[0]

    def unpack(self) -> None:
        """Drops the packed copy."""
        object.__setattr__(self, "_packed", None)

    def packed(self) -> _core.PackedLinear | None:
        """The packed copy where it may serve, which is where no gradient is recorded."""
        kept = self._packed
        if kept is None:
            return None
        if _core.grad_enabled():
            if self.training:
                self.unpack()
            return None
        return kept[0] if kept[1] is self.weight and kept[2] is self.bias else self.pack()

    def as_linear(self, x: pf.Tensor, activation: str | None = None, residual: pf.Tensor | None = None) -> pf.Tensor:
        """activation(x W^T + b) + residual, in one operation: (..., in) -> (..., out)."""
        packed = self.packed()
        if packed is not None:
            return packed(x, activation, residual)
        return ops.linear(x, self.weight, self.bias, activation=activation, residual=residual)

    def linear_cross_entropy(self, x: pf.Tensor, targets: pf.Tensor, **options: Any) -> pf.Tensor:
        """`ops.linear_cross_entropy` of x (N, in) and targets (N,): the logits `as_linear(x)` are never held whole."""
        return ops.linear_cross_entropy(x, self.weight, targets, self.bias, **options)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_packed"}


class Linear(Projection):
    """x W^T + b: (..., in) -> (..., out). `weight` is (out, in), `bias` (out,) or None."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, dtype: Any = None) -> None:
        super().__init__()
        check_sizes("Linear", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        bound = 1.0 / math.sqrt(in_features)
        self.weight = init.uniform(out_features, in_features, bound=bound, dtype=dtype)
        self.bias = init.uniform(out_features, bound=bound, dtype=dtype) if bias else None

    def forward(
        self,
        x: pf.Tensor,
        activation: str | None = None,
        residual: pf.Tensor | None = None,
        norm: LayerNorm | RMSNorm | None = None,
    ) -> pf.Tensor:
        """activation(norm(x) W^T + b) + residual; the norm's result is not kept for backward where nothing follows."""
        packed = self.packed()
        if packed is not None:
            return packed(x if norm is None else norm(x), activation, residual)
        if norm is None:
            return ops.linear(x, self.weight, self.bias, activation=activation, residual=residual)
        if activation is not None or residual is not None:
            return ops.linear(norm(x), self.weight, self.bias, activation=activation, residual=residual)
        return ops.norm_linear(x, norm.weight, norm.bias, self.weight, self.bias, norm=norm.kind, eps=norm.eps)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class Embedding(Projection):
    """Rows of `weight` (num, dim) by integer id: (...) -> (..., dim). IndexError for a bad id.

    `as_linear` makes it the last projection too: (..., dim) -> (..., num).
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, dtype: Any = None) -> None:
        super().__init__()
        check_sizes("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.weight = init.normal(num_embeddings, embedding_dim, std=1.0, dtype=dtype)

    def forward(self, ids: pf.Tensor) -> pf.Tensor:
        return ops.embedding(ids, self.weight)

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}"


class LayerNorm(Module):
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axis, of width `dim`."""

    kind = "layer"

    def __init__(self, dim: int, eps: float = 1e-5, bias: bool = True, dtype: Any = None) -> None:
        super().__init__()
        check_sizes("LayerNorm", dim=dim)
        self.dim, self.eps = dim, check_eps("LayerNorm", eps)
        self.weight = init.ones(dim, dtype=dtype)
        self.bias = init.zeros(dim, dtype=dtype) if bias else None

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        return ops.layer_norm(x, self.weight, self.bias, eps=self.eps)

    def extra_repr(self) -> str:
        return f"{self.dim}, eps={self.eps}"


class RMSNorm(Module):
    """x / sqrt(mean(x^2) + eps) * weight over the last axis, of width `dim`."""

    kind = "rms"
    bias = None

    def __init__(self, dim: int, eps: float = 1e-6, dtype: Any = None) -> None:
        super().__init__()
        check_sizes("RMSNorm", dim=dim)
        self.dim, self.eps = dim, check_eps("RMSNorm", eps)
        self.weight = init.ones(dim, dtype=dtype)

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        return ops.rms_norm(x, self.weight, eps=self.eps)

    def extra_repr(self) -> str:
        return f"{self.dim}, eps={self.eps}"


class Dropout(Module):
    """In training, zeroes each element with probability `p` and scales the rest by 1 / (1 - p)."""

    def __init__(self, p: float = 0.1) -> None:
        super().__init__()
        self.p = check_probability("Dropout", "p", p)

    @property
    def active(self) -> bool:
        """Whether it drops anything now."""
        return self.training and self.p > 0.0 and not inferring()

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        return ops.dropout(x, self.p) if self.active else x

    def extra_repr(self) -> str:
        return f"p={self.p}"


class GELU(Module):
    """x Phi(x); `approximate` is "none" (erf) or "tanh"."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f"GELU: approximate must be 'none' or 'tanh', got {approximate!r}")
        self.approximate = approximate

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        return ops.gelu(x, approximate=self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        return ops.relu(x)


class SiLU(Module):
    """x sigmoid(x)."""

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        return ops.silu(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        return ops.sigmoid(x)


class Tanh(Module):
    """tanh(x)."""

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        return ops.tanh(x)


class ModuleList(Module):
    """A list of modules, named 0, 1, 2, ... It has no forward of its own."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self._length = 0
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> None:
        """Adds a module at the end."""
        if not isinstance(module, Module):
            raise TypeError(f"ModuleList: expected a Module, got {type(module).__name__}")
        setattr(self, str(self._length), module)
        self._length += 1

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __getitem__(self, index: int) -> Module:
        if not -self._length <= index < self._length:
            raise IndexError(f"ModuleList: index {index} is out of range of {self._length} modules")
        return getattr(self, str(index % self._length))


class Sequential(ModuleList):
    """Calls its modules one after the other: Sequential(a, b)(x) is b(a(x))."""

    def __init__(self, *modules: Module) -> None:
        super().__init__(modules)

    def forward(self, x: Any) -> Any:
        for module in self:
            x = module(x)
        return x
