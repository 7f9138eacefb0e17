"""Differentiable operations on tensors; each has its contract in its docstring."""

from pyformer._core import ops as _ops
from pyformer._core.ops import *  # noqa: F403

__all__ = [name for name in dir(_ops) if not name.startswith("_")]
