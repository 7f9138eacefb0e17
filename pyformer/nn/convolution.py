"""Layers for pictures and series: convolutions, pooling, and the norms that go with them. dtype None means float32."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyformer as pf
from pyformer import ops
from pyformer.nn import init
from pyformer.nn.layers import check_eps, check_sizes
from pyformer.nn.module import Module

Pair = tuple[int, int]


def _pair(owner: str, name: str, value: int | Pair) -> Pair:
    pair = value if isinstance(value, tuple) else (value, value)
    if len(pair) != 2 or any(isinstance(v, bool) or not isinstance(v, int) for v in pair):
        raise TypeError(f"{owner}: {name} must be an int or a pair of ints, got {value!r}")
    return pair


class _Conv(Module):
    """What convolutions share: channels, groups, and parameters drawn from +-1 / sqrt(terms of an output)."""

    def __init__(self, in_channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        owner = type(self).__name__
        check_sizes(owner, in_channels=in_channels, out_channels=out_channels, groups=groups)
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{owner}: groups must divide in_channels and out_channels, got {groups} for {in_channels} and "
                f"{out_channels}"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups

    def _make_parameters(self, *weight_shape: int, bias: bool, dtype: Any) -> None:
        bound = 1.0 / math.sqrt(math.prod(weight_shape[1:]))
        self.weight = init.uniform(*weight_shape, bound=bound, dtype=dtype)
        self.bias = init.uniform(self.out_channels, bound=bound, dtype=dtype) if bias else None

    def extra_repr(self) -> str:
        kernel = tuple(self.weight.shape[2:])
        return f"{self.in_channels}, {self.out_channels}, kernel={kernel}, groups={self.groups}"


class Conv1d(_Conv):
    """Convolution over time: (N, in, T) -> (N, out, T'), T' = (T + 2 padding - dilation (kernel - 1) - 1) // stride +
    1.

    Args:
        in_channels, out_channels: numbers of channels.
        kernel, stride, padding, dilation: integers.
        groups: divides both numbers of channels; group g of the inputs makes group g of the outputs.
        bias: whether there is a `bias`.
        dtype: of the parameters, float32 by default.

    Attributes:
        weight: (out, in / groups, kernel), drawn evenly from +-1 / sqrt(in / groups * kernel).
        bias: (out,), drawn likewise, or None.

    Raises:
        ValueError: a size is below 1, or groups does not divide the channels.
        TypeError: a size is no int.

    Example:
        >>> pf.nn.Conv1d(2, 4, 3, padding=1)(pf.zeros(1, 2, 10)).shape
        (1, 4, 10)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        super().__init__(in_channels, out_channels, groups)
        check_sizes("Conv1d", kernel=kernel, stride=stride, dilation=dilation)
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self._make_parameters(out_channels, in_channels // groups, kernel, bias=bias, dtype=dtype)

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """The convolution (N, out, T') of x (N, in, T)."""
        return ops.conv1d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Conv2d(_Conv):
    """Convolution over pictures: (N, in, H, W) -> (N, out, H', W'); see `pf.ops.conv2d` for the sizes.

    Args:
        in_channels, out_channels: numbers of channels.
        kernel, stride, padding, dilation: an int, or a pair (rows, columns).
        groups: divides both numbers of channels; group g of the inputs makes group g of the outputs.
        bias: whether there is a `bias`.
        dtype: of the parameters, float32 by default.

    Attributes:
        weight: (out, in / groups, *kernel), drawn evenly from +-1 / sqrt(terms of a sum).
        bias: (out,), drawn likewise, or None.

    Raises:
        ValueError: a size is below 1, or groups does not divide the channels.
        TypeError: a size is no int or pair.

    Example:
        >>> pf.nn.Conv2d(1, 8, 3, stride=2, padding=1)(pf.zeros(1, 1, 28, 28)).shape
        (1, 8, 14, 14)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        super().__init__(in_channels, out_channels, groups)
        rows, columns = _pair("Conv2d", "kernel", kernel)
        check_sizes("Conv2d", kernel=min(rows, columns))
        self.stride = _pair("Conv2d", "stride", stride)
        self.padding = _pair("Conv2d", "padding", padding)
        self.dilation = _pair("Conv2d", "dilation", dilation)
        self._make_parameters(out_channels, in_channels // groups, rows, columns, bias=bias, dtype=dtype)

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """The convolution (N, out, H', W') of x (N, in, H, W)."""
        return ops.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class ConvTranspose2d(_Conv):
    """The transpose of Conv2d as a linear map: (N, in, H, W) -> (N, out, H', W'); see `pf.ops.conv_transpose2d` for the
    sizes.

    Args:
        in_channels, out_channels: numbers of channels.
        kernel, stride, padding, output_padding, dilation: an int, or a pair (rows, columns).
        groups: divides both numbers of channels.
        bias: whether there is a `bias`.
        dtype: of the parameters, float32 by default.

    Attributes:
        weight: (in, out / groups, *kernel), drawn evenly.
        bias: (out,), drawn likewise, or None.

    Raises:
        ValueError: a size is below 1, or groups does not divide the channels.
        TypeError: a size is no int or pair.

    Example:
        >>> pf.nn.ConvTranspose2d(8, 1, 4, stride=2, padding=1)(pf.zeros(1, 8, 14, 14)).shape
        (1, 1, 28, 28)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        output_padding: int | Pair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Pair = 1,
        dtype: Any = None,
    ) -> None:
        super().__init__(in_channels, out_channels, groups)
        rows, columns = _pair("ConvTranspose2d", "kernel", kernel)
        check_sizes("ConvTranspose2d", kernel=min(rows, columns))
        self.stride = _pair("ConvTranspose2d", "stride", stride)
        self.padding = _pair("ConvTranspose2d", "padding", padding)
        self.output_padding = _pair("ConvTranspose2d", "output_padding", output_padding)
        self.dilation = _pair("ConvTranspose2d", "dilation", dilation)
        self._make_parameters(in_channels, out_channels // groups, rows, columns, bias=bias, dtype=dtype)

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """The transposed convolution (N, out, H', W') of x (N, in, H, W)."""
        return ops.conv_transpose2d(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
        )


class _Pool2d(Module):
    def __init__(self, kernel: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0) -> None:
        super().__init__()
        owner = type(self).__name__
        self.kernel = _pair(owner, "kernel", kernel)
        self.stride = self.kernel if stride is None else _pair(owner, "stride", stride)
        self.padding = _pair(owner, "padding", padding)

    def extra_repr(self) -> str:
        return f"kernel={self.kernel}, stride={self.stride}, padding={self.padding}"

    def _pooled(self, op: Callable[..., pf.Tensor], x: pf.Tensor) -> pf.Tensor:
        if not isinstance(x, pf.Tensor) or x.ndim != 3:
            return op(x, self.kernel, self.stride, self.padding)
        one = op(x.reshape(1, *x.shape), self.kernel, self.stride, self.padding)
        return one.reshape(one.shape[1:])


class MaxPool2d(_Pool2d):
    """The largest element of each window: (N, C, H, W) -> (N, C, H', W'), or of one picture (C, H, W) -> (C, H', W').

    Args:
        kernel: the window, an int or a pair (rows, columns).
        stride: an int or a pair; None means the kernel.
        padding: an int or a pair, at most half the kernel.

    Raises:
        TypeError: an argument is no int or pair.
        ValueError: x does not fit (when called).

    Example:
        >>> pf.nn.MaxPool2d(2)(pf.arange(16, dtype="float32").reshape(1, 1, 4, 4))
        tensor([[[[ 5.,  7.],
                  [13., 15.]]]], dtype=float32)
    """

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """The largest elements (N, C, H', W') of x (N, C, H, W), or (C, H', W') of (C, H, W)."""
        return self._pooled(ops.max_pool2d, x)


class AvgPool2d(_Pool2d):
    """The mean of each window, padding counting as 0: (N, C, H, W) -> (N, C, H', W'), or (C, H, W) -> (C, H', W').

    Args:
        kernel: the window, an int or a pair (rows, columns).
        stride: an int or a pair; None means the kernel.
        padding: an int or a pair, at most half the kernel.

    Raises:
        TypeError: an argument is no int or pair.
        ValueError: x does not fit (when called).

    Example:
        >>> pf.nn.AvgPool2d(2)(pf.arange(16, dtype="float32").reshape(1, 1, 4, 4))
        tensor([[[[ 2.5,  4.5],
                  [10.5, 12.5]]]], dtype=float32)
    """

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """The means (N, C, H', W') of x (N, C, H, W), or (C, H', W') of (C, H, W)."""
        return self._pooled(ops.avg_pool2d, x)


class GroupNorm(Module):
    """Normalises groups of channels, each picture by itself: (N, C, ...) -> (N, C, ...).

    Args:
        groups: divides channels.
        channels: C.
        eps: added to the variance.
        dtype: of the parameters, float32 by default.
        affine: False for a layer without parameters.

    Attributes:
        weight, bias: (channels,), ones and zeros at first; or None.

    Raises:
        ValueError: a size is below 1, groups does not divide channels, or eps is negative.
        TypeError: a size is no int.

    Source: Wu, He 2018, "Group Normalization".

    Example:
        >>> pf.nn.GroupNorm(2, 4)(pf.zeros(1, 4, 5, 5)).shape
        (1, 4, 5, 5)
    """

    def __init__(
        self, groups: int, channels: int, eps: float = 1e-5, dtype: Any = None, *, affine: bool = True
    ) -> None:
        super().__init__()
        check_sizes("GroupNorm", groups=groups, channels=channels)
        if channels % groups:
            raise ValueError(f"GroupNorm: groups must divide channels, got {groups} for {channels}")
        self.groups, self.channels, self.eps = groups, channels, check_eps("GroupNorm", eps)
        self.weight = init.ones(channels, dtype=dtype) if affine else None
        self.bias = init.zeros(channels, dtype=dtype) if affine else None

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """The normalised x (N, C, ...); see `pf.ops.group_norm`."""
        return ops.group_norm(x, self.groups, self.weight, self.bias, eps=self.eps)

    def extra_repr(self) -> str:
        return f"{self.groups}, {self.channels}, eps={self.eps}"


class BatchNorm2d(Module):
    """Normalises each channel over the batch: (N, C, H, W) -> (N, C, H, W).

    In training with the batch's own statistics, which also move the buffers `running_mean` and `running_var` by
    `momentum`; in evaluation with these, and then a picture's result does not depend on its neighbours.

    Args:
        channels: C.
        eps: added to the variance.
        momentum: how much of a batch's statistics goes into the running ones, 0 to 1.
        dtype: of the parameters, float32 by default.
        affine: False for a layer without parameters; it keeps its buffers.

    Attributes:
        weight, bias: (channels,), ones and zeros at first; or None.
        running_mean, running_var: (channels,), zeros and ones at first.

    Raises:
        ValueError: channels is below 1, momentum or eps is out of range, or x is not four-dimensional.
        TypeError: channels is no int.

    Source: Ioffe, Szegedy 2015, "Batch Normalization".

    Example:
        >>> norm = pf.nn.BatchNorm2d(1)
        >>> norm(pf.tensor([1.0, 3.0]).reshape(2, 1, 1, 1)).reshape(2)
        tensor([-0.999995,  0.999995], dtype=float32, requires_grad=True)
        >>> norm.running_mean, norm.running_var
        (tensor([0.2], dtype=float32), tensor([1.1], dtype=float32))
    """

    def __init__(
        self, channels: int, eps: float = 1e-5, momentum: float = 0.1, dtype: Any = None, *, affine: bool = True
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        check_sizes(owner, channels=channels)
        if isinstance(momentum, bool) or not isinstance(momentum, (int, float)) or not 0.0 <= momentum <= 1.0:
            raise ValueError(f"{owner}: momentum must be a number from 0 to 1, got {momentum!r}")
        self.channels, self.eps, self.momentum = channels, check_eps(owner, eps), float(momentum)
        self.weight = init.ones(channels, dtype=dtype) if affine else None
        self.bias = init.zeros(channels, dtype=dtype) if affine else None
        self.register_buffer("running_mean", init.buffer(channels, value=0.0, dtype=dtype))
        self.register_buffer("running_var", init.buffer(channels, value=1.0, dtype=dtype))

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """The normalised x (N, C, H, W); see `pf.ops.batch_norm`."""
        if x.ndim != 4:
            raise ValueError(f"BatchNorm2d: x must be (N, C, H, W), got {tuple(x.shape)}")
        return self._normalised(x)

    def _normalised(self, x: pf.Tensor) -> pf.Tensor:
        return ops.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=self.training,
            momentum=self.momentum,
            eps=self.eps,
        )

    def extra_repr(self) -> str:
        return f"{self.channels}, eps={self.eps}, momentum={self.momentum}"


class BatchNorm1d(BatchNorm2d):
    """Normalises each channel over the batch: (N, C) or (N, C, T), as `BatchNorm2d` does pictures.

    Args:
        channels: C.
        eps: added to the variance.
        momentum: how much of a batch's statistics goes into the running ones, 0 to 1.
        dtype: of the parameters, float32 by default.
        affine: False for a layer without parameters; it keeps its buffers.

    Raises:
        ValueError: channels is below 1, momentum or eps is out of range, or x has another number of axes.
        TypeError: channels is no int.

    Example:
        >>> pf.nn.BatchNorm1d(1)(pf.tensor([[1.0], [3.0]])).reshape(2)
        tensor([-0.999995,  0.999995], dtype=float32, requires_grad=True)
    """

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """The normalised x (N, C) or (N, C, T)."""
        if x.ndim not in (2, 3):
            raise ValueError(f"BatchNorm1d: x must be (N, C) or (N, C, T), got {tuple(x.shape)}")
        return self._normalised(x.reshape(*x.shape[:2], -1, 1)).reshape(*x.shape)
