"""What the numbers of a dtype can be: `pf.finfo` and `pf.iinfo`."""

from __future__ import annotations

from typing import Any

from pyformer import _core
from pyformer._core import DType

# Bits of the whole, of the fraction, and the exponent of the largest power of two.
_FLOATS = {
    DType.float32: (32, 23, 127),
    DType.float64: (64, 52, 1023),
    DType.bfloat16: (16, 7, 127),
    DType.float16: (16, 10, 15),
}
_INTEGERS = {DType.int64: (64, True), DType.int32: (32, True), DType.int8: (8, True), DType.uint8: (8, False)}


def _of(owner: str, dtype: Any, table: dict[DType, Any], kind: str) -> Any:
    found = dtype if isinstance(dtype, DType) else _core.zeros(0, dtype=dtype).dtype
    if found not in table:
        raise TypeError(f"{owner}: expected a dtype of {kind}, got {found.name}")
    return found


class finfo:
    """What the numbers of a float dtype can be.

    Args:
        dtype: the dtype, or its name.

    Attributes:
        dtype: the dtype's name.
        bits: of a number.
        eps: the distance from 1 to the next number.
        max, min: the largest number and the least, which is -max.
        tiny, smallest_normal: the smallest number above 0 that has all its digits.
        smallest_subnormal: the smallest number above 0.

    Raises:
        TypeError: it is no dtype of floats.

    Example:
        >>> pf.finfo(pf.bfloat16)
        finfo(bfloat16, bits=16, eps=0.0078125, max=3.3895313892515355e+38)
    """

    def __init__(self, dtype: Any) -> None:
        found = _of("finfo", dtype, _FLOATS, "floats")
        self.dtype = found.name
        self.bits, fraction, top = _FLOATS[found]
        self.eps = 2.0**-fraction
        self.max = (2.0 - self.eps) * 2.0**top
        self.min = -self.max
        self.tiny = self.smallest_normal = 2.0 ** (1 - top)
        self.smallest_subnormal = self.tiny * self.eps

    def __repr__(self) -> str:
        return f"finfo({self.dtype}, bits={self.bits}, eps={self.eps}, max={self.max})"


class iinfo:
    """What the numbers of an integer dtype can be.

    Args:
        dtype: the dtype, or its name.

    Attributes:
        dtype: the dtype's name.
        bits: of a number.
        max, min: the largest number and the least.

    Raises:
        TypeError: it is no dtype of integers.

    Example:
        >>> pf.iinfo("int8")
        iinfo(int8, bits=8, min=-128, max=127)
    """

    def __init__(self, dtype: Any) -> None:
        found = _of("iinfo", dtype, _INTEGERS, "integers")
        self.dtype = found.name
        self.bits, signed = _INTEGERS[found]
        self.max = 2 ** (self.bits - signed) - 1
        self.min = -self.max - 1 if signed else 0

    def __repr__(self) -> str:
        return f"iinfo({self.dtype}, bits={self.bits}, min={self.min}, max={self.max})"
