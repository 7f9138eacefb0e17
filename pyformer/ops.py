"""Differentiable operations on tensors; each has its contract in its docstring.

Shapes are in letters: B rows of a batch, T tokens (Tq queries, Tk keys), C channels, H heads (Hkv of keys and values),
D the width of a head, V vocabulary; N, C, H, W pictures. "Float" stands for float32, float64, bfloat16 or float16,
the same for all operands of an operation; "integer" for int64 or int32. Memory of results is new unless the docstring
says otherwise.
"""

import builtins as _builtins
import math as _math
import sys as _sys
from collections import abc as _abc
from typing import Any as _Any

import numpy as np

from pyformer import _core
from pyformer._core import ops as _ops
from pyformer._core.ops import *  # noqa: F403
from pyformer.names import *  # noqa: F403
from pyformer.names import __all__ as _names


def rope_frequencies(
    dim: int, base: float = 10000.0, scaling: _abc.Mapping[str, _Any] | None = None, device: _Any = None
) -> _core.Tensor:
    """The angles by which a position turns each pair of elements in `rope`: base^(-2 i / dim) for pair i.

    Args:
        dim: the width of a head, an even number above 0.
        base: how slowly the last pair turns.
        scaling: stretches the waves for longer texts, in Hugging Face's words: {"rope_type": "linear", "factor": f}, or
            "llama3" with "factor", "low_freq_factor", "high_freq_factor" and "original_max_position_embeddings".
        device: where they shall lie, "cpu" by default.

    Returns:
        Tensor (dim / 2,), float64.

    Raises:
        ValueError: `dim` is odd or below 2, `base` is not above 0, the scaling is not known or lacks a number,
            or the device is not there.
        TypeError: `base` is no number, or `scaling` no mapping.

    Source: Su et al. 2021, "RoFormer", section 3.2.2.

    Example:
        >>> pf.ops.rope_frequencies(8)
        tensor([1.   , 0.1  , 0.01 , 0.001], dtype=float64)
        >>> pf.ops.rope_frequencies(4, scaling={"rope_type": "linear", "factor": 2.0})
        tensor([0.5  , 0.005], dtype=float64)
    """
    if isinstance(dim, bool) or not isinstance(dim, int) or dim < 2 or dim % 2:
        raise ValueError(f"rope_frequencies: dim must be an even number above 0, got {dim!r}")
    if isinstance(base, bool) or not isinstance(base, (int, float, np.number)):
        raise TypeError(f"rope_frequencies: base must be a number, got {type(base).__name__}")
    if scaling is not None and not isinstance(scaling, _abc.Mapping):
        raise TypeError(f"rope_frequencies: scaling must be a mapping, got {type(scaling).__name__}")
    if not 0.0 < base <= _sys.float_info.max:
        raise ValueError(f"rope_frequencies: base must be above 0 and finite, got {base}")
    # NumPy's own powers differ from one instruction set to another, and its quotients with the host's rounding.
    exponents = _core.tensor(-np.arange(0.0, dim, 2.0), device="cpu") / float(dim)
    frequencies = _ops.power(float(base), exponents)
    return _core.asarray(frequencies if scaling is None else _scaled(frequencies, scaling), device=_core.device(device))


def _scaled(frequencies: _core.Tensor, scaling: _abc.Mapping[str, _Any]) -> _core.Tensor:
    kind = scaling.get("rope_type", scaling.get("type"))
    names = {
        "default": (),
        "linear": ("factor",),
        "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    }.get(kind)
    if names is None:
        raise ValueError(f"rope_frequencies: rope_type must be 'default', 'linear' or 'llama3', got {kind!r}")
    values = [scaling.get(name) for name in names]
    if not _builtins.all(isinstance(value, (int, float)) and 0 < value <= _sys.float_info.max for value in values):
        raise ValueError(f"rope_frequencies: {kind} needs finite numbers above 0 for {names}, got {values}")
    if kind == "default":
        return frequencies
    if kind == "linear":
        return frequencies / float(values[0])
    factor, low, high, length = (float(value) for value in values)
    if low >= high:
        raise ValueError(f"rope_frequencies: low_freq_factor must be below high_freq_factor, got {low} and {high}")
    # Waves shorter than length / high stay, those longer than length / low are stretched, between both a mixture.
    span = _core.tensor(high, dtype="float64", device="cpu") - low
    kept = (length * frequencies / (2.0 * _math.pi) - low) / span
    kept = _ops.minimum(_ops.maximum(kept, 0.0), 1.0)
    return frequencies * (kept + (1.0 - kept) / factor)


__all__ = ["rope_frequencies", *_names, *(n for n in dir(_ops) if not n.startswith("_") and n not in _names)]
