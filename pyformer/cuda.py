"""CUDA devices. This build has no CUDA core, so there are none."""

from __future__ import annotations


def is_available() -> bool:
    """Whether tensors can be moved to a CUDA device.

    Example:
        >>> device = "cuda" if pf.cuda.is_available() else "cpu"
    """
    return False
