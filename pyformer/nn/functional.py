"""`pf.ops` by the name of torch's module: `import pyformer.nn.functional as F`.

The functions are those of `pf.ops`, but for dropout, layer_norm, pad, relu and rms_norm, whose arguments are torch's.
"""

import builtins
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyformer import ops
from pyformer._core import Tensor, tensor
from pyformer.limits import finfo
from pyformer.ops import *  # noqa: F403
from pyformer.ops import __all__ as __all__

_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def relu(x: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0), a new tensor; `inplace` is taken without effect.

    Raises:
        TypeError: x is not float.

    Example:
        >>> pf.nn.functional.relu(pf.tensor([-1.0, 2.0]), inplace=True)
        tensor([0., 2.], dtype=float32)
    """
    return ops.relu(x)


def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """x with each element 0 with probability p and the others times 1 / (1 - p), where `training`; else x.

    Args:
        x: (...), float.
        p: from 0 to below 1.
        training: whether elements are dropped.
        inplace: taken without effect.

    Raises:
        ValueError: p is below 0 or not below 1, and training is True.
        TypeError: x is not float.

    Example:
        >>> pf.nn.functional.dropout(pf.ones(2), training=False)
        tensor([1., 1.], dtype=float32)
    """
    return ops.dropout(x, p) if training and p else x


def layer_norm(
    x: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """x brought to mean 0 and variance 1 over its last axes, whose extents are `normalized_shape`.

    Args:
        x: (..., *normalized_shape), float.
        normalized_shape: an int stands for one axis.
        weight: of normalized_shape, by which the result is multiplied.
        bias: of normalized_shape, what is added then.
        eps: added to the variance.

    Returns:
        Tensor of x's shape and dtype.

    Raises:
        ValueError: a shape does not fit.
        TypeError: a dtype does not fit.

    Example:
        >>> pf.nn.functional.layer_norm(pf.tensor([1.0, 3.0]), 2, eps=0.0)
        tensor([-1.,  1.], dtype=float32)
    """
    rows, weight, bias = _rows("layer_norm", x, normalized_shape, weight, bias)
    return ops.layer_norm(rows, weight, bias, eps).reshape(*x.shape)


def rms_norm(
    x: Tensor, normalized_shape: int | Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """x divided by its root mean square over its last axes, whose extents are `normalized_shape`.

    Args:
        x: (..., *normalized_shape), float.
        normalized_shape: an int stands for one axis.
        weight: of normalized_shape, by which the result is multiplied.
        eps: added to the mean square; None for the smallest step of x's dtype.

    Returns:
        Tensor of x's shape and dtype.

    Raises:
        ValueError: a shape does not fit.
        TypeError: a dtype does not fit.

    Example:
        >>> pf.nn.functional.rms_norm(pf.tensor([2.0, -2.0]), 2, eps=0.0)
        tensor([ 1., -1.], dtype=float32)
    """
    rows, weight = _rows("rms_norm", x, normalized_shape, weight)
    return ops.rms_norm(rows, weight, finfo(x.dtype).eps if eps is None else eps).reshape(*x.shape)


def _rows(op: str, x: Tensor, normalized_shape: int | Sequence[int], *parameters: Tensor | None) -> list[Any]:
    """x and its parameters with the normalized axes made one."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape or tuple(x.shape[-len(shape) :]) != shape:
        raise ValueError(f"{op}: expected normalized_shape to be the last extents of {x.shape}, got {shape}")
    flat = [None if parameter is None else parameter.reshape(-1) for parameter in parameters]
    return [x.reshape(*x.shape[: -len(shape)], math.prod(shape)), *flat]


def pad(x: Tensor, pad: Any, mode: str = "constant", value: float = 0.0) -> Tensor:
    """x with more elements around it.

    Args:
        x: (...), any dtype.
        pad: ints, a pair (before, after) for the last axis, then one for the axis before it, and so on; or, as
            `pf.ops.pad` has it, a pair for each axis.
        mode: "constant", "reflect", "replicate" or "circular".
        value: of the new elements where the mode is "constant".

    Raises:
        ValueError: there are too many widths or an odd number of them, or the mode is not known.

    Example:
        >>> pf.nn.functional.pad(pf.tensor([1.0, 2.0]), (1, 2), value=9.0)
        tensor([9., 1., 2., 9., 9.], dtype=float32)
    """
    pairs = [tuple(pair) if not isinstance(pair, int) else pair for pair in pad]
    if builtins.all(isinstance(width, int) for width in pairs):
        if len(pairs) % 2 or len(pairs) > 2 * x.ndim:
            raise ValueError(f"pad: expected at most {x.ndim} pairs of widths, got {tuple(pad)}")
        last_first = [(pairs[i], pairs[i + 1]) for i in range(0, len(pairs), 2)]
        pairs = [(0, 0)] * (x.ndim - len(last_first)) + last_first[::-1]
    if mode == "constant":
        padded = ops.pad(x, pairs)
        return padded if not value else ops.where(ops.pad(ops.ones_like(x, "bool"), pairs), padded, value)
    if mode not in _MODES:
        raise ValueError(f"pad: mode must be one of {['constant', *_MODES]}, got {mode!r}")
    for axis, widths in enumerate(pairs):
        if builtins.any(widths):
            places = np.pad(np.arange(x.shape[axis]), widths, _MODES[mode])
            x = ops.index_select(x, axis, tensor(places, device=x.device))
    return x
