"""The layer: a Linear whose weight stays, and two thin matrices beside it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyformer as pf
from pyformer import nn, ops
from pyformer.identity import is_same
from pyformer.nn.layers import check_probability, check_sizes
from pyformer.nn.precision import activation_dtype

_ACTIVATIONS = {
    "gelu": ops.gelu,
    "gelu_tanh": lambda x: ops.gelu(x, approximate="tanh"),
    "relu": ops.relu,
    "silu": ops.silu,
    "tanh": ops.tanh,
    "sigmoid": ops.sigmoid,
}


class LoRALinear(nn.Linear):
    """activation(x W^T + b + scale * B A dropout(x)) + residual: a Linear whose W and b stay and whose A and B learn.

    Args:
        linear: the Linear whose weight and bias it takes over; they are shared, not copied.
        rank: the width between A and B.
        scale: of what they add.
        dropout: probability, on what A sees.

    Attributes:
        lora_A, lora_B: Linear layers without biases, in -> rank and rank -> out; B is zeros at first. They are float64
            beside a float64 weight and float32 beside any other, so that small steps are not rounded away; what they
            add to a float16 layer is rounded to float16.

    Raises:
        TypeError: linear is no Linear, or a number of the wrong type.
        ValueError: rank is below 1, or dropout no probability.

    Example:
        >>> layer = pf.nn.Linear(4, 3)
        >>> adapted = pf.lora.LoRALinear(layer, rank=2, scale=1.0)
        >>> x = pf.ones(1, 4)
        >>> (adapted(x) == layer(x)).numpy().all().item(), adapted.lora_A.weight.shape
        (True, (2, 4))
    """

    def __init__(self, linear: nn.Linear, rank: int, scale: float, dropout: float = 0.0) -> None:
        if type(linear) is not nn.Linear:
            raise TypeError(f"lora: expected a Linear, got {type(linear).__name__}")
        check_sizes("lora", rank=rank)
        dropout = check_probability("lora", "dropout", dropout)
        with nn.init.outlines():
            super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None)
        self.weight, self.bias, self.quantized = linear.weight, linear.bias, linear.quantized
        self.scale = float(scale)
        self.lora_A = nn.Linear(self.in_features, rank, bias=False)
        self.lora_B = nn.Linear(rank, self.out_features, bias=False)
        nn.init.zeros_(self.lora_B.weight)
        self.dropout = nn.Dropout(dropout)
        if linear.dtype == pf.float64:
            self.lora_A.to(pf.float64), self.lora_B.to(pf.float64)
        for part in (self.lora_A, self.lora_B):
            part.to(linear.device)
        _take_over(self, linear)

    def forward(
        self,
        x: pf.Tensor,
        activation: str | None = None,
        residual: pf.Tensor | None = None,
        norm: Any = None,
    ) -> pf.Tensor:
        """As `Linear.forward`, with what A and B add before the activation."""
        x = x if norm is None else norm(x)
        y = super().forward(x)
        low = self.lora_A(_as(self.dropout(x), activation_dtype(self.lora_A.weight))) * self.scale
        y = _as(self.lora_B(low, residual=_as(y, low.dtype)), y.dtype)
        y = y if activation is None else _ACTIVATIONS[activation](y)
        return y if residual is None else y + residual

    def merged(self) -> nn.Linear:
        """A Linear of the same weight memory, to which scale * B A is added; of float32 if that was quantised."""
        dequantize([self])
        self._add_to(self.weight)
        return self._plain(self.weight)

    def _add_to(self, weight: pf.Tensor) -> None:
        with pf.no_grad():
            added = ops.matmul(self.lora_B.weight.detach(), self.lora_A.weight.detach()) * self.scale
            whole = weight.detach()
            whole[:] = (whole.to(added.dtype) + added).to(whole.dtype)

    def _plain(self, weight: pf.Tensor) -> nn.Linear:
        with nn.init.outlines():
            plain = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None)
        plain.weight, plain.bias = weight, self.bias
        _take_over(plain, self)
        return plain.train(self.training)

    def _learns_with(self, other: LoRALinear) -> bool:
        """Whether both add the same to one weight."""
        mine, theirs = (self, *self._parts()), (other, *other._parts())
        return self.scale == other.scale and all(is_same(a.weight, b.weight) for a, b in zip(mine, theirs, strict=True))

    def _parts(self) -> tuple[nn.Linear, nn.Linear]:
        return self.lora_A, self.lora_B


def dequantize(layers: Iterable[LoRALinear]) -> None:
    """Makes float32 weights of quantised matrices; layers of one matrix have one weight then."""
    weights: dict[Any, pf.Tensor] = {}
    for layer in layers:
        quantized = layer.quantized
        if quantized is not None:
            if quantized not in weights:
                weights[quantized] = nn.Parameter(quantized.dequantize())
            layer.weight, layer.quantized = weights[quantized], None


def _as(x: pf.Tensor, dtype: pf.DType) -> pf.Tensor:
    return x if x.dtype == dtype else x.to(dtype)


def _take_over(new: nn.Linear, old: nn.Linear) -> None:
    """Gives `new`, which takes old's place, what users have put there: hooks, buffers and other attributes."""
    own = {*vars(new), "scale", "lora_A", "lora_B", "dropout"}
    for name, value in old.__getstate__().items():
        if name not in own:
            # Registers of hooks themselves and no copies: what takes a hook away knows its register.
            new.__dict__[name] = old.__dict__[name] if name.endswith("_hooks") else value
            if name in old._kinds:
                new._kinds[name] = old._kinds[name]
