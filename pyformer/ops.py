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
from pyformer.float_mode import in_default_float_mode as _in_default_float_mode
from pyformer.names import *  # noqa: F403
from pyformer.names import __all__ as _names


@_in_default_float_mode
def rope_frequencies(
    dim: int,
    base: float = 10000.0,
    scaling: _abc.Mapping[str, _Any] | None = None,
    device: _Any = None,
    length: int = 0,
) -> _core.Tensor:
    """The angles by which a position turns each pair of elements in `rope`: base^(-2 i / dim) for pair i.

    Args:
        dim: the width of a head, an even number above 0.
        base: how slowly the last pair turns.
        scaling: stretches the waves for longer texts, in Hugging Face's words: {"rope_type": "linear", "factor": f};
            "llama3" with "factor", "low_freq_factor", "high_freq_factor" and "original_max_position_embeddings"; "yarn"
            with the first and the last of these, and "beta_fast", "beta_slow" and "truncate" if they aren't 32, 1 and
            True; "longrope" with "short_factor" and "long_factor", dim / 2 numbers each, and
            "original_max_position_embeddings".
        device: where they shall lie, "cpu" by default.
        length: how long the text is: longrope takes its long factors where that is above the original length.

    Returns:
        Tensor (dim / 2,), float64.

    Raises:
        ValueError: `dim` is odd or below 2, `base` is not above 0, the scaling is not known or lacks a number,
            or the device is not there.
        TypeError: `base` is no number, or `scaling` no mapping.

    Source: Su et al. 2021, "RoFormer", section 3.2.2; Peng et al. 2023, "YaRN"; Ding et al. 2024, "LongRoPE".

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
    _check_scaling("rope_frequencies", scaling)
    if not 0.0 < base <= _sys.float_info.max:
        raise ValueError(f"rope_frequencies: base must be above 0 and finite, got {base}")
    if scaling is not None and _rope_kind(scaling) == "longrope":
        _check_factors(scaling, dim // 2)
    # NumPy's own powers differ from one instruction set to another, and its quotients with the host's rounding.
    exponents = _core.tensor(-np.arange(0.0, dim, 2.0), device="cpu") / float(dim)
    frequencies = _ops.power(float(base), exponents)
    if scaling is not None:
        frequencies = _SCALINGS[_rope_kind(scaling)](frequencies, scaling, float(base), length)
    return _core.asarray(frequencies, device=_core.device(device))


@_in_default_float_mode
def rope_magnitude(scaling: _abc.Mapping[str, _Any] | None) -> float:
    """By what YaRN and LongRoPE multiply the turned elements of queries and of keys; 1 for other scalings.

    Args:
        scaling: as in `rope_frequencies`. Its "attention_factor", or else what follows from "factor", from the "mscale"
            and "mscale_all_dim" of YaRN, and from LongRoPE's original length.

    Returns:
        A float.

    Raises:
        ValueError: the scaling is not known or lacks a number.
        TypeError: the scaling is no mapping.

    Source: Peng et al. 2023, "YaRN", section 3.4; Ding et al. 2024, "LongRoPE".

    Example:
        >>> pf.ops.rope_magnitude({"rope_type": "linear", "factor": 4.0})
        1.0
        >>> scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
        >>> round(pf.ops.rope_magnitude(scaling), 4)
        1.1386
    """
    _check_scaling("rope_magnitude", scaling)
    kind = None if scaling is None else _rope_kind(scaling)
    if kind not in ("yarn", "longrope"):
        return 1.0
    if scaling.get("attention_factor") is not None:
        return _rope_numbers(kind, scaling, "attention_factor")[0]
    (factor,) = _rope_numbers(kind, scaling, "factor")
    if kind == "longrope":
        (length,) = _rope_numbers(kind, scaling, "original_max_position_embeddings")
        if length <= 1.0:
            raise ValueError(f"rope_magnitude: longrope needs an original length above 1, got {length}")
        return 1.0 if factor <= 1.0 else _math.sqrt(1.0 + _log(factor) / _log(length))
    scales = [scaling.get(name) for name in ("mscale", "mscale_all_dim")]
    above, below = _rope_numbers(kind, scaling, "mscale", "mscale_all_dim") if _builtins.all(scales) else (1.0, 0.0)
    magnitude = 1.0 if factor <= 1.0 else (0.1 * above * _log(factor) + 1.0) / (0.1 * below * _log(factor) + 1.0)
    if not 0.0 < magnitude <= _sys.float_info.max:
        raise ValueError(f"rope_magnitude: mscale {above} and mscale_all_dim {below} make {magnitude}")
    return magnitude


def _log(value: float) -> float:
    """log of a number, float64, by the library's own polynomial."""
    return _ops.log(_core.tensor(value, dtype="float64", device="cpu")).item()


def _check_scaling(op: str, scaling: _Any) -> None:
    if scaling is not None and not isinstance(scaling, _abc.Mapping):
        raise TypeError(f"{op}: scaling must be a mapping, got {type(scaling).__name__}")


def _rope_kind(scaling: _abc.Mapping[str, _Any]) -> str:
    kind = scaling.get("rope_type", scaling.get("type"))
    if not isinstance(kind, str) or kind not in _SCALINGS:
        raise ValueError(f"rope_frequencies: rope_type must be one of {sorted(_SCALINGS)}, got {kind!r}")
    return kind


def _rope_numbers(kind: str, scaling: _abc.Mapping[str, _Any], *names: str, **optional: float) -> list[float]:
    """The numbers of these names, then those of `optional` or what stands there for them."""
    given = {name: value for name in optional if (value := scaling.get(name)) is not None}
    values = [*(scaling.get(name) for name in names), *{**optional, **given}.values()]
    if not _builtins.all(isinstance(value, (int, float)) and 0 < value <= _sys.float_info.max for value in values):
        wanted = (*names, *optional)
        raise ValueError(f"rope_frequencies: {kind} needs finite numbers above 0 for {wanted}, got {values}")
    return [float(value) for value in values]


def _linear(frequencies: _core.Tensor, scaling: _abc.Mapping[str, _Any], base: float, length: int) -> _core.Tensor:
    return frequencies / _rope_numbers("linear", scaling, "factor")[0]


def _llama3(frequencies: _core.Tensor, scaling: _abc.Mapping[str, _Any], base: float, length: int) -> _core.Tensor:
    names = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    factor, low, high, original = _rope_numbers("llama3", scaling, *names)
    if low >= high:
        raise ValueError(f"rope_frequencies: low_freq_factor must be below high_freq_factor, got {low} and {high}")
    # Waves shorter than original / high stay, those longer than original / low are stretched, between both a mixture.
    span = _core.tensor(high, dtype="float64", device="cpu") - low
    kept = (original * frequencies / (2.0 * _math.pi) - low) / span
    kept = _ops.minimum(_ops.maximum(kept, 0.0), 1.0)
    return frequencies * (kept + (1.0 - kept) / factor)


def _yarn(frequencies: _core.Tensor, scaling: _abc.Mapping[str, _Any], base: float, length: int) -> _core.Tensor:
    names = ("factor", "original_max_position_embeddings")
    factor, original, fast, slow = _rope_numbers("yarn", scaling, *names, beta_fast=32.0, beta_slow=1.0)
    pairs = frequencies.shape[0]
    if base <= 1.0:
        raise ValueError(f"rope_frequencies: yarn needs a base above 1, got {base}")

    def pair(rotations: float) -> float:
        """Which pair turns so often within the original length."""
        length = original / (rotations * 2.0 * _math.pi)
        if not 0.0 < length <= _sys.float_info.max:
            raise ValueError(f"rope_frequencies: yarn can't turn {rotations} times within {original} tokens")
        return pairs * _log(length) / _log(base)

    low, high = pair(fast), pair(slow)
    if scaling.get("truncate", True):
        low, high = float(_math.floor(low)), float(_math.ceil(high))
    low, high = _builtins.max(low, 0.0), _builtins.min(high, 2.0 * pairs - 1.0)
    ramp = (_core.tensor(np.arange(0.0, pairs), device="cpu") - low) / (high - low if high != low else 0.001)
    stretched = _ops.minimum(_ops.maximum(ramp, 0.0), 1.0)
    return frequencies * (1.0 - stretched) + frequencies * stretched / factor


def _check_factors(scaling: _abc.Mapping[str, _Any], pairs: int) -> None:
    """Before memory is taken for so many pairs: each has its factors."""
    for name in ("short_factor", "long_factor"):
        values = scaling.get(name)
        if not isinstance(values, (list, tuple)) or len(values) != pairs:
            got = len(values) if isinstance(values, (list, tuple)) else type(values).__name__
            raise ValueError(f"rope_frequencies: longrope needs {pairs} numbers for {name}, got {got}")
        _rope_numbers("longrope", dict(enumerate(values)), *range(pairs))


def _longrope(frequencies: _core.Tensor, scaling: _abc.Mapping[str, _Any], base: float, length: int) -> _core.Tensor:
    (original,) = _rope_numbers("longrope", scaling, "original_max_position_embeddings")
    factors = scaling["long_factor" if length > original else "short_factor"]
    return frequencies / _core.tensor(np.array(factors, np.float64), device="cpu")


# How each rope_type changes frequencies (dim / 2,), float64.
_SCALINGS = {
    "default": lambda frequencies, *_: frequencies,
    "linear": _linear,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _longrope,
}

_compiled = [name for name in dir(_ops) if not name.startswith("_") and name not in _names]
__all__ = ["rope_frequencies", "rope_magnitude", *_names, *_compiled]
