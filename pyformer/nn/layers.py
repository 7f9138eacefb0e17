"""Layers with parameters, and dropout. dtype None means float32."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pyformer as pf
from pyformer import _core, ops
from pyformer.nn import init
from pyformer.nn.module import Module, is_plain
from pyformer.nn.precision import activation_dtype, own_precision

_packing = threading.RLock()  # the collector may run `release` while a thread is within `pack`
MAX_LAYERS = 10_000  # a model is built layer by layer: a number that slipped would keep Python busy for days


def check_sizes(owner: str, **sizes: int) -> None:
    """Raises TypeError or ValueError unless every size is an int of 1 ... 2**63 - 1, layers at most MAX_LAYERS."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError(f"{owner}: {name} must be an int, got {type(size).__name__}")
        if size < 1:
            raise ValueError(f"{owner}: {name} must be at least 1, got {size}")
        if size >= 1 << 63:
            raise ValueError(f"{owner}: {name} must be below 2**63, got {size}")
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
    """Base of what multiplies by a matrix `weight` (out, in), Linear and Embedding: the one place that decides in which
    form the matrix is read.

    `pack` adds a copy that many small products read fastest. It serves while no gradient is recorded, follows writes
    into the weight, and goes when training goes on; it is neither copied nor pickled. The bits are the same. It does
    not see what is written through an array that shares the weight's memory, as `numpy()` gives: call `unpack` then.
    `hold` adds it for as long as somebody holds it, as generation does while it runs.

    `quantize` puts a matrix of 8 or 4 bits, `quantized`, in the place of `weight`, which is None then: it is no
    parameter and gets no gradient, but x does.

    Raises:
        TypeError: a dtype does not fit (when called).
        ValueError: a shape does not fit (when called).

    Example:
        >>> layer = pf.nn.Linear(3, 2)
        >>> isinstance(layer, pf.nn.Projection)
        True
        >>> with pf.no_grad():
        ...     before = layer(pf.ones(1, 3))
        ...     _ = layer.pack()
        ...     (layer(pf.ones(1, 3)) == before).numpy().all().item()
        True
    """

    weight: pf.Tensor
    bias: pf.Tensor | None = None
    quantized: _core.QuantizedWeight | None = None
    _packed: tuple[_core.PackedLinear, pf.Tensor, pf.Tensor | None] | None = None
    _holders = 0

    @property
    def dtype(self) -> pf.DType:
        """The weight's; float32 where it is quantised."""
        return pf.float32 if self.quantized is not None else self.weight.dtype

    @property
    def device(self) -> str:
        """The weight's."""
        return self.weight.device if self.quantized is None else self.quantized.device

    @property
    def matrix(self) -> pf.Tensor | _core.QuantizedWeight:
        """What two layers share where they are one: the weight, or the quantised matrix in its place."""
        return self.weight if self.quantized is None else self.quantized

    def quantize(self, quantized: str | _core.QuantizedWeight) -> None:
        """Puts a quantised matrix in the weight's place: its numbers as "q8", "Q8_0" or "Q4_1", or the one given.

        Raises:
            ValueError: it is quantised already, the format is none of these, the shapes differ, the weight is
                float64 or float16 (what is computed with a quantised matrix is float32), or it has numbers above 65504,
                infinities or NaN.
        """
        self._check_quantize(quantized)
        if isinstance(quantized, str):
            quantized = _core.QuantizedWeight.quantize(self.weight.detach(), quantized)
        self.unpack()
        self.quantized, self.weight = quantized, None

    def _check_quantize(self, quantized: str | _core.QuantizedWeight) -> None:
        """Raises what `quantize` would."""
        if self.quantized is not None:
            raise ValueError(f"quantize: the matrix is quantised already, as {self.quantized.format}")
        if self.weight.dtype in (pf.float64, pf.float16):
            raise ValueError(f"quantize: expected a float32 or bfloat16 weight, got {self.weight.dtype.name}")
        if isinstance(quantized, str):
            _core.check_quantizable(self.weight.detach(), quantized)
        elif quantized.shape != tuple(self.weight.shape):
            raise ValueError(f"quantize: expected a matrix {tuple(self.weight.shape)}, got {quantized.shape}")

    def _quantized_linear(
        self, x: pf.Tensor, activation: str | None = None, residual: pf.Tensor | None = None
    ) -> pf.Tensor:
        return self.quantized(x, self.bias, activation, residual)

    def pack(self) -> _core.PackedLinear:
        """Makes the packed copy, unless there is one of the tensors that are here now."""
        with _packing:
            kept = self._packed
            if kept is None or kept[1] is not self.weight or kept[2] is not self.bias:
                kept = _core.PackedLinear(self.weight, self.bias), self.weight, self.bias
                object.__setattr__(self, "_packed", kept)
            return kept[0]

    def unpack(self) -> None:
        """Drops the packed copy."""
        object.__setattr__(self, "_packed", None)

    def hold(self) -> bool:
        """Makes the packed copy and keeps it until `release`; False, with nothing to release, if `pack` made it."""
        with _packing:
            if self.quantized is not None or (self._holders == 0 and self._packed is not None):
                return False
            self.pack()
            object.__setattr__(self, "_holders", self._holders + 1)
            return True

    def release(self) -> None:
        """Ends one `hold`; the packed copy goes with the last."""
        with _packing:
            object.__setattr__(self, "_holders", self._holders - 1)
            if self._holders == 0:
                self.unpack()

    def packed(self) -> Callable[..., pf.Tensor] | None:
        """What computes in the weight's place, called with x, activation and residual: the packed copy, which serves
        where no gradient is recorded, or the quantised matrix; None where the weight itself is to be used."""
        if self.quantized is not None:
            return self._quantized_linear
        kept = self._packed
        if kept is None:
            return None
        if _core.grad_enabled():
            if self.training:
                self.unpack()
            return None
        packed, weight, bias = kept
        return packed if weight is self.weight and bias is self.bias else self.pack()

    @own_precision
    def as_linear(self, x: pf.Tensor, activation: str | None = None, residual: pf.Tensor | None = None) -> pf.Tensor:
        """activation(x W^T + b) + residual, in one operation: (..., in) -> (..., out)."""
        packed = self.packed()
        if packed is not None:
            return packed(x, activation, residual)
        return ops.linear(x, self.weight, self.bias, activation=activation, residual=residual)

    @own_precision
    def linear_cross_entropy(self, x: pf.Tensor, targets: pf.Tensor, **options: Any) -> pf.Tensor:
        """`ops.linear_cross_entropy` of x (N, in) and targets (N,): the logits `as_linear(x)` are never held whole."""
        if self.quantized is not None:
            return ops.cross_entropy(self._quantized_linear(x), targets, **options)
        return ops.linear_cross_entropy(x, self.weight, targets, self.bias, **options)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name not in ("_packed", "_holders")}


class Linear(Projection):
    """activation(x W^T + b) + residual: (..., in) -> (..., out).

    Args:
        in_features, out_features: the widths.
        bias: whether there is a `bias`.
        dtype: of the parameters, float32 by default.

    Attributes:
        weight: (out, in), drawn evenly from +-1 / sqrt(in).
        bias: (out,), drawn likewise, or None.

    Raises:
        ValueError: a width is below 1.
        TypeError: a width is no int.

    Example:
        >>> layer = pf.nn.Linear(3, 2)
        >>> layer(pf.ones(4, 3)).shape
        (4, 2)
        >>> layer
        Linear(3, 2, bias=True)
    """

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
        """activation(norm(x) W^T + b) + residual, in one operation.

        Args:
            x: (..., in), of the parameters' dtype.
            activation: None, "gelu", "gelu_tanh", "relu", "silu", "tanh" or "sigmoid".
            residual: (..., out), or None.
            norm: a LayerNorm or RMSNorm that x goes through first; its result is not kept for backward where no
                activation and no residual follows.

        Returns:
            Tensor (..., out).

        Raises:
            ValueError: a shape does not fit, or the activation is not known.
            TypeError: a dtype differs.
        """
        packed = self.packed()
        if packed is not None:
            return packed(x if norm is None else norm(x), activation, residual)
        if norm is None:
            return ops.linear(x, self.weight, self.bias, activation=activation, residual=residual)
        if activation is not None or residual is not None or not is_plain(norm, LayerNorm, RMSNorm):
            return ops.linear(norm(x), self.weight, self.bias, activation=activation, residual=residual)
        return ops.norm_linear(x, norm.gain, norm.bias, self.weight, self.bias, norm=norm.kind, eps=norm.eps)

    def as_linear(self, x: pf.Tensor, activation: str | None = None, residual: pf.Tensor | None = None) -> pf.Tensor:
        """activation(x W^T + b) + residual, in one operation: (..., in) -> (..., out)."""
        if is_plain(self, Linear):
            return super().as_linear(x, activation, residual)
        given = {"activation": activation, "residual": residual}
        return self(x, **{name: value for name, value in given.items() if value is not None})

    def linear_cross_entropy(self, x: pf.Tensor, targets: pf.Tensor, **options: Any) -> pf.Tensor:
        """`ops.linear_cross_entropy` of x (N, in) and targets (N,): the logits are held only where they must be."""
        if is_plain(self, Linear):
            return super().linear_cross_entropy(x, targets, **options)
        return ops.cross_entropy(self(x), targets, **options)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class Embedding(Projection):
    """Rows of a table by integer id: (...) -> (..., dim). `as_linear` makes it the last projection too: (..., dim) ->
    (..., num).

    Args:
        num_embeddings: the number of rows V.
        embedding_dim: the width of a row.
        dtype: of the parameters, float32 by default.
        padding_idx: a row that is zeros at first and that this layer gives no gradient; None for none.

    Attributes:
        weight: (num_embeddings, embedding_dim), drawn from the normal distribution. Gradients of a row that was picked
            several times are added one after another, in float32 but for float64: there a sum of ones grows to 2^24
            and no further.

    Raises:
        ValueError: a size is below 1.
        TypeError: a size is no int, or ids are not integers.
        IndexError: an id is outside 0 ... V - 1.

    Example:
        >>> table = pf.nn.Embedding(10, 4)
        >>> rows = table(pf.tensor([[1, 2, 9]]))
        >>> rows.shape, table.as_linear(rows).shape
        ((1, 3, 4), (1, 3, 10))
    """

    padding_idx: int | None = None

    def __init__(
        self, num_embeddings: int, embedding_dim: int, dtype: Any = None, padding_idx: int | None = None
    ) -> None:
        super().__init__()
        check_sizes("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.weight = init.normal(num_embeddings, embedding_dim, std=1.0, dtype=dtype)
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise ValueError(f"Embedding: padding_idx {padding_idx} is out of range of {num_embeddings} rows")
            self.padding_idx = padding_idx % num_embeddings
            if isinstance(self.weight, pf.Tensor):
                with pf.no_grad():
                    self.weight[self.padding_idx] = 0.0

    @classmethod
    def from_pretrained(cls, embeddings: pf.Tensor, freeze: bool = True, padding_idx: int | None = None) -> Embedding:
        """A table that holds a copy of (rows, columns), where they are; it is not trained where `freeze`.

        Args:
            embeddings: the rows, of a float dtype.
            freeze: whether the weight requires no gradient.
            padding_idx: a row that this layer gives no gradient; None for none.

        Returns:
            An Embedding of the dtype and on the device of the rows. No random number is drawn.

        Raises:
            ValueError: the embeddings are no matrix, or padding_idx is none of its rows.

        Example:
            >>> table = pf.nn.Embedding.from_pretrained(pf.tensor([[1.0, 2.0], [3.0, 4.0]]))
            >>> table(pf.tensor([1]))
            tensor([[3., 4.]], dtype=float32)
        """
        if embeddings.ndim != 2:
            raise ValueError(f"Embedding.from_pretrained: expected a matrix, got {embeddings.shape}")
        given: dict[str, Any] = {"dtype": embeddings.dtype, "padding_idx": padding_idx, "device": embeddings.device}
        with init.skip():
            table = cls(*embeddings.shape, **given)
        with pf.no_grad():
            table.weight.copy_(embeddings)
        table.weight.requires_grad = not freeze
        return table

    def forward(self, ids: pf.Tensor) -> pf.Tensor:
        """The rows (..., dim) of integers ids (...)."""
        rows = ops.embedding(ids, self.weight) if self.quantized is None else self.quantized.rows(ids)
        if self.padding_idx is None:
            return rows
        return ops.where(ops.unsqueeze(ops.not_equal(ids, self.padding_idx), -1), rows, rows.detach())

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class LayerNorm(Module):
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last axis, or the last axes: x's shape -> x's shape.

    Args:
        dim: the width of the last axis, or a tuple of the extents of the last axes.
        eps: added to the variance.
        bias: whether there is a `bias`.
        dtype: of the parameters, float32 by default.
        elementwise_affine: False for a layer without parameters.

    Attributes:
        weight: (dim,), or of the extents, ones at first; or None.
        bias: likewise, zeros at first, or None.

    Raises:
        ValueError: an extent is below 1, or eps is negative or not finite.
        TypeError: an extent is no int, or eps no number.

    Source: Ba, Kiros, Hinton 2016, "Layer Normalization".

    Example:
        >>> pf.nn.LayerNorm(3)(pf.tensor([[1.0, 2.0, 3.0]]))
        tensor([[-1.2247356,  0.       ,  1.2247356]], dtype=float32, requires_grad=True)
    """

    kind = "layer"

    def __init__(
        self,
        dim: int | Sequence[int],
        eps: float = 1e-5,
        bias: bool = True,
        dtype: Any = None,
        *,
        elementwise_affine: bool = True,
    ) -> None:
        super().__init__()
        self.axes = tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
        if not self.axes:
            raise ValueError("LayerNorm: expected the extent of an axis or more, got none")
        for extent in self.axes:
            check_sizes("LayerNorm", dim=extent)
        self.dim, self.eps = math.prod(self.axes), check_eps("LayerNorm", eps)
        self.weight = init.ones(*self.axes, dtype=dtype) if elementwise_affine else None
        self.bias = init.zeros(*self.axes, dtype=dtype) if bias and elementwise_affine else None

    @property
    def gain(self) -> pf.Tensor | None:
        """What the normalised x is multiplied by, (dim,); None without parameters."""
        return self.weight

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """The normalised x; see `pf.ops.layer_norm`."""
        if len(self.axes) == 1:
            return ops.layer_norm(x, self.weight, self.bias, eps=self.eps)
        if tuple(x.shape[-len(self.axes) :]) != self.axes:
            raise ValueError(f"LayerNorm: expected x with the last axes {self.axes}, got {x.shape}")
        weight, bias = (p if p is None else p.reshape(-1) for p in (self.weight, self.bias))
        flat = x.reshape(*x.shape[: -len(self.axes)], self.dim)
        return ops.layer_norm(flat, weight, bias, eps=self.eps).reshape(*x.shape)

    def extra_repr(self) -> str:
        return f"{self.dim if len(self.axes) == 1 else self.axes}, eps={self.eps}"


class RMSNorm(Module):
    """x / sqrt(mean(x^2) + eps) * weight over the last axis: (..., dim) -> (..., dim).

    Args:
        dim: the width of the last axis.
        eps: added to the mean square.
        dtype: of the parameters, float32 by default.
        centred: the factor is 1 + weight, as in Gemma, and the weight zeros at first.
        elementwise_affine: False for a layer without parameters.

    Attributes:
        weight: (dim,), ones at first; or None.

    Raises:
        ValueError: dim is below 1, eps is negative or not finite, or a layer without parameters is to be centred.
        TypeError: dim is no int, or eps no number.

    Source: Zhang, Sennrich 2019, "Root Mean Square Layer Normalization".

    Example:
        >>> pf.nn.RMSNorm(2)(pf.tensor([[3.0, -4.0]]))
        tensor([[ 0.8485281, -1.1313708]], dtype=float32, requires_grad=True)
    """

    kind = "rms"
    bias = None

    def __init__(
        self,
        dim: int,
        eps: float = 1e-6,
        dtype: Any = None,
        centred: bool = False,
        *,
        elementwise_affine: bool = True,
    ) -> None:
        super().__init__()
        check_sizes("RMSNorm", dim=dim)
        if centred and not elementwise_affine:
            raise ValueError("RMSNorm: centred is about the weight, which elementwise_affine=False leaves out")
        self.dim, self.eps, self.centred = dim, check_eps("RMSNorm", eps), bool(centred)
        self.weight = (init.zeros if centred else init.ones)(dim, dtype=dtype) if elementwise_affine else None

    @property
    def gain(self) -> pf.Tensor | None:
        """What the normalised x is multiplied by, (dim,); None without parameters."""
        # 1 + weight isn't rounded to bfloat16, where small weights would vanish.
        return self.weight.to(activation_dtype(self.weight)) + 1.0 if self.centred else self.weight

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """The normalised x (..., dim); see `pf.ops.rms_norm`."""
        return ops.rms_norm(x, self.gain, eps=self.eps)

    def extra_repr(self) -> str:
        return f"{self.dim}, eps={self.eps}"


class Dropout(Module):
    """In training, sets each element to 0 with probability p and multiplies the others by 1 / (1 - p); else does
    nothing.

    Args:
        p: the probability, 0 <= p < 1.

    Raises:
        ValueError: p is out of range.
        TypeError: p is no number.

    Source: Srivastava et al. 2014, "Dropout".

    Example:
        >>> dropout = pf.nn.Dropout(0.5)
        >>> pf.manual_seed(0)
        >>> dropout(pf.ones(6))
        tensor([0., 2., 2., 2., 2., 0.], dtype=float32)
        >>> dropout.eval()(pf.ones(6))
        tensor([1., 1., 1., 1., 1., 1.], dtype=float32)
    """

    _takes_inplace = True

    def __init__(self, p: float = 0.1) -> None:
        super().__init__()
        self.p = check_probability("Dropout", "p", p)

    @property
    def active(self) -> bool:
        """Whether it drops anything now."""
        return self.p > 0.0 and self.training

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """x (...) with elements dropped in training."""
        return ops.dropout(x, self.p) if self.active else x

    def extra_repr(self) -> str:
        return f"p={self.p}"
