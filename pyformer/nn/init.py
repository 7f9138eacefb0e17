"""First values of parameters, drawn from the library's own random numbers (`pf.manual_seed`).

Functions whose name ends in `_` write into a tensor of any shape and return it; no gradient is recorded. The fans of a
weight (out, in, ...) are in and out, each times the product of what follows.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import _core
from pyformer.float_mode import in_default_float_mode

# From so many elements on memory comes from the system, zeros that take none before they are touched.
UNTOUCHED = 1 << 16

# A range that holds less of a normal distribution would be drawn again and again.
LEAST_PROBABILITY = 0.01

# Of `orthogonal_`: a slice is a copy, so all earlier rows are copied once for so many new ones.
ORTHOGONAL_ROWS = 32

_local = threading.local()


@contextlib.contextmanager
def skip(untouched: bool = False) -> Iterator[None]:
    """Inside, this module draws nothing: new parameters are zeros, and given tensors stay as they are.

    Args:
        untouched: large float32 parameters take no memory before they are written or read, for those that are to be
            replaced.

    Example:
        >>> with pf.nn.init.skip():
        ...     layer = pf.nn.Linear(2, 1)
        >>> layer.weight.detach()
        tensor([[0., 0.]], dtype=float32)
    """
    before = skipped(), getattr(_local, "untouched", False)
    _local.skip, _local.untouched = True, untouched or before[1]
    try:
        yield
    finally:
        _local.skip, _local.untouched = before


def skipped() -> bool:
    """Whether this thread is inside `skip`.

    Example:
        >>> pf.nn.init.skipped()
        False
    """
    return getattr(_local, "skip", False)


@dataclass(frozen=True, eq=False)
class Outline:
    """What stands for a tensor inside `outlines`: its shape, and no memory.

    Args:
        shape: the extents.

    Raises:
        AttributeError: it is used as a tensor.

    Example:
        >>> pf.nn.init.Outline((2, 3)).size
        6
    """

    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)


@contextlib.contextmanager
def outlines() -> Iterator[None]:
    """Inside, modules are made with outlines for parameters: their names and shapes are known, no memory is taken.

    Example:
        >>> with pf.nn.init.outlines():
        ...     model = pf.nn.Linear(100_000, 100_000)
        >>> model.weight.shape
        (100000, 100000)
    """
    before = getattr(_local, "outlines", False)
    _local.outlines = True
    try:
        with skip():
            yield
    finally:
        _local.outlines = before


def zeros(*shape: int, dtype: Any = None, device: Any = None) -> pf.Tensor:
    """A parameter of zeros.

    Args:
        shape: extents, one by one.
        dtype: float32 by default.
        device: where it shall lie, "cpu" by default.

    Returns:
        Tensor of that shape, a leaf that requires a gradient.

    Raises:
        ValueError: an extent is negative.
        TypeError: the dtype is not float.

    Example:
        >>> pf.nn.init.zeros(2)
        tensor([0., 0.], dtype=float32, requires_grad=True)
    """
    return _new(pf.zeros, shape, dtype, device)


def ones(*shape: int, dtype: Any = None, device: Any = None) -> pf.Tensor:
    """A parameter of ones.

    Args:
        shape: extents, one by one.
        dtype: float32 by default.
        device: where it shall lie, "cpu" by default.

    Returns:
        Tensor of that shape, a leaf that requires a gradient.

    Raises:
        ValueError: an extent is negative.
        TypeError: the dtype is not float.

    Example:
        >>> pf.nn.init.ones(2)
        tensor([1., 1.], dtype=float32, requires_grad=True)
    """
    return _new(pf.ones, shape, dtype, device)


def buffer(*shape: int, value: float, dtype: Any = None, device: Any = None) -> pf.Tensor:
    """What `Module.register_buffer` takes: one value everywhere.

    Args:
        shape: extents, one by one.
        value: a number.
        dtype: float32 by default.
        device: where it shall lie, "cpu" by default.

    Returns:
        Tensor of that shape without a gradient.

    Raises:
        ValueError: an extent is negative.

    Example:
        >>> pf.nn.init.buffer(2, value=1.0)
        tensor([1., 1.], dtype=float32)
    """
    return _new(partial(pf.full, value=value), shape, dtype or pf.float32, device, requires_grad=False)


def _new(
    make: Callable[..., pf.Tensor], shape: tuple[int, ...], dtype: Any, device: Any, requires_grad: bool = True
) -> Any:
    if getattr(_local, "outlines", False):
        return Outline(shape)
    if getattr(_local, "untouched", False) and make is pf.zeros and dtype is None and math.prod(shape) >= UNTOUCHED:
        tensor = pf.asarray(np.zeros(shape, np.float32), device=device)
    else:
        tensor = make(shape, dtype=dtype, device=device)
    tensor.requires_grad = requires_grad
    return tensor


def normal(*shape: int, std: float, dtype: Any = None, device: Any = None) -> pf.Tensor:
    """A parameter drawn from the normal distribution of mean 0.

    Args:
        shape: extents, one by one.
        std: the standard deviation.
        dtype: a float dtype, float32 by default.
        device: where it shall lie, "cpu" by default.

    Returns:
        Tensor of that shape, a leaf that requires a gradient; one stream of random numbers is drawn.

    Raises:
        ValueError: an extent or std is negative, or std not finite.
        TypeError: the dtype is not float.

    Example:
        >>> pf.manual_seed(0)
        >>> pf.nn.init.normal(2, std=0.02)
        tensor([ 0.01982275, -0.01849325], dtype=float32, requires_grad=True)
    """
    _check_std("normal", std)
    if skipped():
        return zeros(*shape, dtype=dtype, device=device)
    with pf.no_grad():
        return _leaf(pf.randn(*shape, dtype=dtype or pf.float32, device=device) * std)


def uniform(*shape: int, bound: float, dtype: Any = None, device: Any = None) -> pf.Tensor:
    """A parameter drawn evenly from [-bound, bound).

    Args:
        shape: extents, one by one.
        bound: the largest absolute value.
        dtype: a float dtype, float32 by default.
        device: where it shall lie, "cpu" by default.

    Returns:
        Tensor of that shape, a leaf that requires a gradient; one stream of random numbers is drawn.

    Raises:
        ValueError: an extent is negative, or bound not finite.
        TypeError: the dtype is not float.

    Example:
        >>> pf.manual_seed(0)
        >>> pf.nn.init.uniform(2, bound=0.5)
        tensor([-0.10095358,  0.38052016], dtype=float32, requires_grad=True)
    """
    _check_finite("uniform", bound=bound)
    if skipped():
        return zeros(*shape, dtype=dtype, device=device)
    with pf.no_grad():
        return _leaf(pf.rand(*shape, dtype=dtype or pf.float32, device=device) * (2.0 * bound) - bound)


def _leaf(values: pf.Tensor) -> pf.Tensor:
    values.requires_grad = True
    return values


def normal_(tensor: pf.Tensor, mean: float = 0.0, std: float = 1.0) -> pf.Tensor:
    """Writes numbers of a normal distribution into a tensor.

    Args:
        tensor: (...), of a float dtype.
        mean, std: of the distribution; std is at least 0.

    Returns:
        The tensor.

    Raises:
        ValueError: std is negative, or a number not finite.
        TypeError: the tensor is of another dtype.

    Example:
        >>> pf.manual_seed(0)
        >>> pf.nn.init.normal_(pf.zeros(3), std=0.02)
        tensor([ 0.01982275, -0.01849325, -0.01235218], dtype=float32)
    """
    _check_finite("normal_", mean=mean)
    _check_std("normal_", std)
    return fill_(tensor, lambda _: _shifted(_drawn(pf.randn, tensor) * std, mean))


def uniform_(
    tensor: pf.Tensor, low: float = 0.0, high: float = 1.0, *, a: float | None = None, b: float | None = None
) -> pf.Tensor:
    """Writes numbers spread evenly over [low, high) into a tensor.

    Args:
        tensor: (...), of a float dtype.
        low, high: the ends.
        a, b: torch's names of the ends.

    Returns:
        The tensor.

    Raises:
        ValueError: low is above high, or a number or their difference not finite.
        TypeError: the tensor is of another dtype.

    Example:
        >>> pf.manual_seed(0)
        >>> pf.nn.init.uniform_(pf.zeros(3), -1.0, 1.0)
        tensor([-0.20190716,  0.76104033,  0.47142553], dtype=float32)
    """
    low, high = low if a is None else a, high if b is None else b
    _check_finite("uniform_", low=low, high=high)
    if not 0.0 <= high - low < math.inf:
        raise ValueError(f"uniform_: low must be at most high, and high - low finite, got {low} and {high}")
    return fill_(tensor, lambda _: _shifted(_drawn(pf.rand, tensor) * (high - low), low))


@in_default_float_mode
def trunc_normal_(
    tensor: pf.Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    low: float = -2.0,
    high: float = 2.0,
    *,
    a: float | None = None,
    b: float | None = None,
) -> pf.Tensor:
    """Writes numbers of a normal distribution into a tensor, each drawn again until it is in [low, high].

    Args:
        tensor: (...), of a float dtype.
        mean, std: of the distribution; std is above 0.
        low, high: the ends; -inf and inf will do.
        a, b: torch's names of the ends.

    Returns:
        The tensor.

    Raises:
        ValueError: std is not above 0, mean or std not finite, or the range holds less than a hundredth of the
            distribution.
        TypeError: the tensor is of another dtype.

    Example:
        >>> pf.manual_seed(0)
        >>> values = pf.nn.init.trunc_normal_(pf.zeros(1000), low=-1.0, high=1.0)
        >>> values.min().item() >= -1.0, values.max().item() <= 1.0
        (True, True)
    """
    low, high = low if a is None else a, high if b is None else b
    _check_finite("trunc_normal_", mean=mean, std=std)
    _check_number("trunc_normal_", low=low, high=high)
    if std <= 0.0:
        raise ValueError(f"trunc_normal_: std must be above 0, got {std}")
    below, above = (math.erf((end - mean) / (std * math.sqrt(2.0))) for end in (low, high))
    if not (above - below) / 2.0 >= LEAST_PROBABILITY:  # NaN too
        raise ValueError(
            f"trunc_normal_: [{low}, {high}] must hold {LEAST_PROBABILITY:.0%} of the distribution or more"
        )

    def values(_: pf.Tensor) -> pf.Tensor:
        drawn = _shifted(_drawn(pf.randn, tensor) * std, mean)
        while True:
            outside = pf.ops.cast(drawn < low, pf.int64) + pf.ops.cast(drawn > high, pf.int64)
            if not outside.size or not outside.max().item():
                return drawn
            again = _shifted(_drawn(pf.randn, tensor) * std, mean)
            drawn = pf.ops.where(outside > 0, again, drawn)

    return fill_(tensor, values)


@in_default_float_mode
def xavier_uniform_(tensor: pf.Tensor, gain: float = 1.0) -> pf.Tensor:
    """uniform_ over +-gain sqrt(6 / (fan in + fan out)), which keeps variances level through layers without
    activations.

    Args:
        tensor: (out, in, ...), of a float dtype; the fans are in and out, each times the product of what follows.
        gain: a factor.

    Returns:
        The tensor.

    Raises:
        ValueError: the tensor has fewer than two axes.
        TypeError: it is of another dtype.

    Source: Glorot, Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks", eq. 16.

    Example:
        >>> pf.manual_seed(0)
        >>> pf.nn.init.xavier_uniform_(pf.zeros(2, 2))
        tensor([[-0.24728477,  0.9320804 ],
                [ 0.577376  ,  0.2583766 ]], dtype=float32)
    """
    bound = gain * math.sqrt(6.0 / sum(_fans("xavier_uniform_", tensor)))
    return uniform_(tensor, -bound, bound)


@in_default_float_mode
def xavier_normal_(tensor: pf.Tensor, gain: float = 1.0) -> pf.Tensor:
    """normal_ with the standard deviation gain sqrt(2 / (fan in + fan out)).

    Args:
        tensor: (out, in, ...), of a float dtype; the fans are in and out, each times the product of what follows.
        gain: a factor.

    Returns:
        The tensor.

    Raises:
        ValueError: the tensor has fewer than two axes.
        TypeError: it is of another dtype.

    Source: Glorot, Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks", eq. 12.

    Example:
        >>> pf.manual_seed(0)
        >>> pf.nn.init.xavier_normal_(pf.zeros(2, 2))
        tensor([[ 0.70084006, -0.6538352 ],
                [-0.43671548, -0.340874  ]], dtype=float32)
    """
    return normal_(tensor, std=gain * math.sqrt(2.0 / sum(_fans("xavier_normal_", tensor))))


@in_default_float_mode
def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The gain that torch advises for a non-linear function.

    Args:
        nonlinearity: "linear", "conv1d" and the like, "sigmoid", "tanh", "relu", "leaky_relu" or "selu".
        param: the slope of leaky_relu, 0.01 by default.

    Raises:
        ValueError: the function is not one of those.

    Example:
        >>> round(pf.nn.init.calculate_gain("relu"), 4)
        1.4142
    """
    slope = 0.01 if param is None else param
    gains = {"tanh": 5.0 / 3.0, "relu": math.sqrt(2.0), "leaky_relu": math.sqrt(2.0 / (1.0 + slope**2)), "selu": 0.75}
    ones = ("linear", "sigmoid", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d")
    if nonlinearity not in gains and nonlinearity not in ones:
        raise ValueError(f"calculate_gain: expected one of {[*gains, *ones]}, got {nonlinearity!r}")
    return gains.get(nonlinearity, 1.0)


def _in_own_words(gain: float, fan: str, a: float | None, mode: str | None, nonlinearity: str | None) -> tuple:
    """(gain, fan), also where they come in torch's words."""
    if a is not None or nonlinearity is not None:
        gain = calculate_gain(nonlinearity or "leaky_relu", 0.0 if a is None else a)
    return gain, fan if mode is None else mode.removeprefix("fan_")


def eye_(tensor: pf.Tensor) -> pf.Tensor:
    """Writes ones on the diagonal of a matrix and zeros elsewhere.

    Raises:
        ValueError: the tensor is no matrix.

    Example:
        >>> pf.nn.init.eye_(pf.zeros(2, 2))
        tensor([[1., 0.],
                [0., 1.]], dtype=float32)
    """
    if tensor.ndim != 2:
        raise ValueError(f"eye_: expected a matrix, got {tensor.shape}")
    return fill_(tensor, np.eye(*tensor.shape, dtype=np.float32))


@in_default_float_mode
def orthogonal_(tensor: pf.Tensor, gain: float = 1.0) -> pf.Tensor:
    """Writes a random matrix whose rows, or columns where these are fewer, are orthogonal and of length `gain`.

    Args:
        tensor: (rows, ...), of a float dtype; what follows the first axis makes up the columns.
        gain: a factor.

    Returns:
        The tensor.

    Raises:
        ValueError: the tensor has fewer than two axes.
        TypeError: it is of another dtype.

    Source: Saxe et al. 2013, "Exact solutions to the nonlinear dynamics of learning in deep linear networks".

    Example:
        >>> weight = pf.nn.init.orthogonal_(pf.zeros(2, 3))
        >>> pf.allclose(weight @ weight.T, pf.eye(2), atol=1e-6)
        True
    """
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_: expected at least two axes, got {tensor.shape}")
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    with pf.no_grad():
        basis = pf.randn(min(rows, columns), max(rows, columns), dtype=pf.float64)
        for i in range(0, basis.shape[0], ORTHOGONAL_ROWS):
            earlier, block = basis[:i], basis[i : i + ORTHOGONAL_ROWS]
            for _ in range(2):  # once leaves what was rounded off
                block = _made_orthonormal(_without(block, earlier))
            basis[i : i + ORTHOGONAL_ROWS] = block
        matrix = gain * (basis if rows < columns else basis.T)
    return fill_(tensor, matrix.reshape(tensor.shape))


def _without(rows: pf.Tensor, directions: pf.Tensor) -> pf.Tensor:
    """Rows less what they have of orthonormal directions."""
    return rows - pf.ops.matmul(rows, directions, transpose_b=True) @ directions


def _made_orthonormal(rows: pf.Tensor) -> pf.Tensor:
    """The rows after Gram-Schmidt, written in place; LAPACK's QR has other bits on other machines."""
    for i in range(rows.shape[0]):
        earlier, row = rows[:i], rows[i : i + 1]
        for _ in range(2):
            row = _without(row, earlier)
        rows[i : i + 1] = row / (row * row).sum().sqrt()
    return rows


@in_default_float_mode
def kaiming_uniform_(
    tensor: pf.Tensor,
    gain: float = math.sqrt(2.0),
    fan: str = "in",
    *,
    a: float | None = None,
    mode: str | None = None,
    nonlinearity: str | None = None,
) -> pf.Tensor:
    """uniform_ over +-gain sqrt(3 / fan), which keeps variances level through layers with ReLU.

    Args:
        tensor: (out, in, ...), of a float dtype; the fans are in and out, each times the product of what follows.
        gain: a factor, ReLU's by default.
        fan: "in" keeps the variances of forward level, "out" those of backward.
        a, mode, nonlinearity: gain and fan in torch's words, by name: the slope of leaky_relu, 0 by default,
            "fan_in" or "fan_out", and what `calculate_gain` takes.

    Returns:
        The tensor.

    Raises:
        ValueError: the tensor has fewer than two axes, or fan is another word.
        TypeError: it is of another dtype.

    Source: He et al. 2015, "Delving deep into rectifiers", eq. 10.

    Example:
        >>> pf.manual_seed(0)
        >>> pf.nn.init.kaiming_uniform_(pf.zeros(2, 2))
        tensor([[-0.34971344,  1.3181604 ],
                [ 0.81653297,  0.36539972]], dtype=float32)
    """
    gain, fan = _in_own_words(gain, fan, a, mode, nonlinearity)
    bound = gain * math.sqrt(3.0 / _fan("kaiming_uniform_", tensor, fan))
    return uniform_(tensor, -bound, bound)


@in_default_float_mode
def kaiming_normal_(
    tensor: pf.Tensor,
    gain: float = math.sqrt(2.0),
    fan: str = "in",
    *,
    a: float | None = None,
    mode: str | None = None,
    nonlinearity: str | None = None,
) -> pf.Tensor:
    """normal_ with the standard deviation gain / sqrt(fan), which keeps variances level through layers with ReLU.

    Args:
        tensor: (out, in, ...), of a float dtype; the fans are in and out, each times the product of what follows.
        gain: a factor, ReLU's by default.
        fan: "in" keeps the variances of forward level, "out" those of backward.
        a, mode, nonlinearity: gain and fan in torch's words, by name: the slope of leaky_relu, 0 by default,
            "fan_in" or "fan_out", and what `calculate_gain` takes.

    Returns:
        The tensor.

    Raises:
        ValueError: the tensor has fewer than two axes, or fan is another word.
        TypeError: it is of another dtype.

    Source: He et al. 2015, "Delving deep into rectifiers", eq. 10.

    Example:
        >>> pf.manual_seed(0)
        >>> pf.nn.init.kaiming_normal_(pf.zeros(2, 2))
        tensor([[ 0.99113756, -0.9246626 ],
                [-0.61760896, -0.48206863]], dtype=float32)
    """
    gain, fan = _in_own_words(gain, fan, a, mode, nonlinearity)
    return normal_(tensor, std=gain / math.sqrt(_fan("kaiming_normal_", tensor, fan)))


def constant_(tensor: pf.Tensor, value: float) -> pf.Tensor:
    """Writes one value into a tensor.

    Args:
        tensor: (...), any dtype.
        value: a number.

    Returns:
        The tensor.

    Raises:
        TypeError: the value does not go with the tensor's dtype.

    Example:
        >>> pf.nn.init.constant_(pf.zeros(2), 0.5)
        tensor([0.5, 0.5], dtype=float32)
    """
    _check_number("constant_", value=value)
    return fill_(tensor, lambda _: pf.full(tuple(tensor.shape), value, dtype=tensor.dtype, device=tensor.device))


def zeros_(tensor: pf.Tensor) -> pf.Tensor:
    """Writes 0 into a tensor.

    Args:
        tensor: (...), any dtype.

    Returns:
        The tensor.

    Raises:
        AttributeError: it is no tensor.

    Example:
        >>> pf.nn.init.zeros_(pf.ones(2))
        tensor([0., 0.], dtype=float32)
    """
    return constant_(tensor, 0.0)


def ones_(tensor: pf.Tensor) -> pf.Tensor:
    """Writes 1 into a tensor.

    Args:
        tensor: (...), any dtype.

    Returns:
        The tensor.

    Raises:
        AttributeError: it is no tensor.

    Example:
        >>> pf.nn.init.ones_(pf.zeros(2))
        tensor([1., 1.], dtype=float32)
    """
    return constant_(tensor, 1.0)


def fill_(tensor: pf.Tensor, values: Any) -> pf.Tensor:
    """Writes values, or what a function gives, into a tensor; inside `skip` nothing is written.

    Args:
        tensor: (...), any dtype.
        values: a number, or an array, list or Tensor of the same shape, which become the tensor's dtype; or a function:
            values(tensor) gives a Tensor of the same shape, dtype and device.

    Returns:
        The tensor.

    Raises:
        ValueError: the shapes differ, or the dtype can't hold a value.
        TypeError: the values are no numbers; the dtypes or devices of what a function gives differ.

    Example:
        >>> pf.nn.init.fill_(pf.zeros(3), lambda tensor: pf.arange(3, dtype=tensor.dtype))
        tensor([0., 1., 2.], dtype=float32)
        >>> pf.nn.init.fill_(pf.zeros(3), [0.5, 1.5, 2.5])
        tensor([0.5, 1.5, 2.5], dtype=float32)
    """
    if not skipped():
        with pf.no_grad():
            _core.copy_([tensor], [values(tensor) if callable(values) else _like(tensor, values)])
    return tensor


def _like(tensor: pf.Tensor, values: Any) -> pf.Tensor:
    made = pf.tensor(values, dtype=tensor.dtype, device=tensor.device)
    if made.ndim == 0:
        return pf.full(tuple(tensor.shape), made.item(), dtype=tensor.dtype, device=tensor.device)
    if made.shape != tensor.shape:
        raise ValueError(f"fill_: expected values of shape {tuple(tensor.shape)}, got {tuple(made.shape)}")
    return made


def _drawn(draw: Callable[..., pf.Tensor], like: pf.Tensor) -> pf.Tensor:
    return draw(*like.shape, dtype=like.dtype, device=like.device)


def _shifted(values: pf.Tensor, by: float) -> pf.Tensor:
    return values + by if by else values


def _check_number(owner: str, **values: float) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{owner}: {name} must be a number, got {type(value).__name__}")


def _check_finite(owner: str, **values: float) -> None:
    _check_number(owner, **values)
    for name, value in values.items():
        if not math.isfinite(value):
            raise ValueError(f"{owner}: {name} must be finite, got {value}")


def _check_std(owner: str, std: float) -> None:
    _check_finite(owner, std=std)
    if std < 0.0:
        raise ValueError(f"{owner}: std must be 0 or above, got {std}")


def _fan(owner: str, tensor: pf.Tensor, fan: str) -> int:
    if fan not in ("in", "out"):
        raise ValueError(f"{owner}: fan must be 'in' or 'out', got {fan!r}")
    return _fans(owner, tensor)[fan == "out"]


def _fans(owner: str, tensor: pf.Tensor) -> tuple[int, int]:
    """(fan in, fan out) of a weight (out, in, ...)."""
    if tensor.ndim < 2:
        raise ValueError(f"{owner}: tensor must be (out, in, ...), got {tuple(tensor.shape)}")
    inner = math.prod(tensor.shape[2:])
    return tensor.shape[1] * inner, tensor.shape[0] * inner
