"""The layer of Kolmogorov-Arnold networks: a learned function of one variable on every edge."""

from __future__ import annotations

import math
from typing import Any

import pyformer as pf
from pyformer import ops
from pyformer.nn import init
from pyformer.nn.layers import check_sizes
from pyformer.nn.module import Module


class KANLayer(Module):
    """A layer of a Kolmogorov-Arnold network, a learned function on every edge: (..., in) -> (..., out).

    out_o = sum over i of a_oi silu(x_i) + s_oi(x_i), where s_oi is a spline: a sum of intervals + order B-splines of
    degree `order` on a uniform grid over [low, high]. Far outside the grid the spline is 0 and silu alone is left.
    Both sums over i are matrix products.

    Args:
        in_features, out_features: the widths.
        intervals: cells of the grid.
        order: degree of the splines, 1 to 8.
        low, high: the ends of the grid.
        dtype: of the parameters, float32 by default.

    Attributes:
        base_weight: a, (out, in).
        spline_weight: (out, in * (intervals + order)), the coefficients.

    Raises:
        ValueError: a size is below 1 (or order above 8, or low not below high, when called).
        TypeError: a size is no int.

    Source: Liu et al. 2024, "KAN: Kolmogorov-Arnold Networks", eq. 2.10.

    Example:
        >>> layer = pf.nn.KANLayer(2, 3)
        >>> layer(pf.zeros(5, 2)).shape, layer.spline_weight.shape
        ((5, 3), (3, 16))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        intervals: int = 5,
        order: int = 3,
        low: float = -1.0,
        high: float = 1.0,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        check_sizes("KANLayer", in_features=in_features, out_features=out_features, intervals=intervals, order=order)
        self.in_features, self.out_features = in_features, out_features
        self.intervals, self.order, self.low, self.high = intervals, order, low, high
        bases = intervals + order
        # Small splines, as the paper starts with; silu alone carries the signal at first.
        self.base_weight = init.uniform(out_features, in_features, bound=1.0 / math.sqrt(in_features), dtype=dtype)
        std = 0.1 / math.sqrt(in_features)
        self.spline_weight = init.normal(out_features, in_features * bases, std=std, dtype=dtype)

    def forward(self, x: pf.Tensor, residual: pf.Tensor | None = None) -> pf.Tensor:
        """(..., in) -> (..., out), plus `residual` of that shape."""
        base = ops.linear(ops.silu(x), self.base_weight, residual=residual)
        bases = ops.bspline(x, self.low, self.high, self.intervals, self.order)
        return ops.linear(bases.reshape(*x.shape[:-1], -1), self.spline_weight, residual=base)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, intervals={self.intervals}, order={self.order}"
