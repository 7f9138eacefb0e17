"""Activations as modules."""

from __future__ import annotations

import pyformer as pf
from pyformer import ops
from pyformer.nn.module import Module


class GELU(Module):
    """x Phi(x), Phi the distribution function of the normal distribution: (...) -> (...).

    Args:
        approximate: "none" computes Phi by erf, "tanh" by a tanh; see `pf.ops.gelu`.

    Raises:
        ValueError: approximate is another word.

    Example:
        >>> pf.nn.GELU()(pf.tensor([-1.0, 0.0, 2.0]))
        tensor([-0.15865526,  0.        ,  1.9544997 ], dtype=float32)
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f"GELU: approximate must be 'none' or 'tanh', got {approximate!r}")
        self.approximate = approximate

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """gelu(x), of x's shape and dtype."""
        return ops.gelu(x, approximate=self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class ReLU(Module):
    """max(x, 0): (...) -> (...).

    Raises:
        TypeError: x is not a float tensor.

    Example:
        >>> pf.nn.ReLU()(pf.tensor([-1.0, 2.0]))
        tensor([0., 2.], dtype=float32)
    """

    _takes_inplace = True

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """relu(x), of x's shape and dtype."""
        return ops.relu(x)


class SiLU(Module):
    """x sigmoid(x): (...) -> (...).

    Raises:
        TypeError: x is not a float tensor.

    Example:
        >>> pf.nn.SiLU()(pf.tensor([-1.0, 2.0]))
        tensor([-0.26894143,  1.761594  ], dtype=float32)
    """

    _takes_inplace = True

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """silu(x), of x's shape and dtype."""
        return ops.silu(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x)): (...) -> (...).

    Raises:
        TypeError: x is no Tensor.

    Example:
        >>> pf.nn.Sigmoid()(pf.tensor([0.0, 2.0]))
        tensor([0.5     , 0.880797], dtype=float32)
    """

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """sigmoid(x), of x's shape and dtype."""
        return ops.sigmoid(x)


class Tanh(Module):
    """tanh(x): (...) -> (...).

    Raises:
        TypeError: x is no Tensor.

    Example:
        >>> pf.nn.Tanh()(pf.tensor([0.0, 1.0]))
        tensor([0.       , 0.7615942], dtype=float32)
    """

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """tanh(x), of x's shape and dtype."""
        return ops.tanh(x)
