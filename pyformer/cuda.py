"""CUDA devices, which a library of their own brings (libpyformer_cuda.so); without it there are none."""

from __future__ import annotations

from pyformer import _core


def is_available() -> bool:
    """Whether tensors can be moved to a CUDA device.

    Example:
        >>> pf.cuda.is_available() or pf.cuda.why() != ""
        True
    """
    return why() == ""


def why() -> str:
    """Why no CUDA device can be used: no library for it in this build, no driver, no card. Empty where one can.

    Example:
        >>> isinstance(pf.cuda.why(), str)
        True
    """
    try:
        _core.device("cuda")
    except ValueError as error:
        return str(error)
    return ""


def device_count() -> int:
    """How many CUDA devices can be used.

    Example:
        >>> pf.cuda.device_count() > 0 or not pf.cuda.is_available()
        True
    """
    count = 0
    while is_available() and _is_there(count):
        count += 1
    return count


def _is_there(index: int) -> bool:
    try:
        _core.device(f"cuda:{index}")
    except ValueError:
        return False
    return True
