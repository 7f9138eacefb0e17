"""Runs torch with every argument of every op changed a little, forward and backward: Monte Carlo arithmetic.

Parker, "Monte Carlo Arithmetic" (1997). How far a result moves says how large the numbers behind it are.
"""

from __future__ import annotations

import random
from functools import cache

import torch
from torch.utils._python_dispatch import TorchDispatchMode

NOISE = torch.randn(1 << 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

# They choose or compare elements: changed arguments could make them choose others.
CHOICES = {
    *("max", "min", "amax", "amin", "maximum", "minimum", "argmax", "argmin", "topk", "sort"),
    *("eq", "ne", "lt", "le", "gt", "ge", "isinf", "isnan", "sign", "sgn", "where", "masked_fill"),
    *("max_pool2d_with_indices", "max_pool2d_with_indices_backward"),
}


class Shaken(TorchDispatchMode):
    """Within it, each float64 argument x of an op is x * (1 + step * z) with z normal, new each time, or x + step * z
    if `added`."""

    def __init__(self, seed: int, step: float, added: bool = False) -> None:
        super().__init__()
        self.random, self.step, self.added = random.Random(seed), step, added

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        read = _read(function)
        args = tuple(self._changed(a) if r else a for a, r in zip(args, read, strict=False))
        return function(*args, **(kwargs or {}))

    def _changed(self, value):
        if isinstance(value, (list, tuple)):
            return type(value)(self._changed(v) for v in value)
        if not isinstance(value, torch.Tensor) or value.dtype != torch.float64 or value.ndim == 0:
            return value
        count = value.numel()
        start = self.random.randrange(NOISE.numel() - count)
        noise = NOISE[start : start + count].view(value.shape).mul(self.step)
        return value + noise if self.added else value * noise.add_(1.0)


@cache
def _read(function) -> list[bool]:
    """Which arguments to change: none of a view or a choice, and none that is written to."""
    schema = function._schema
    view = any(r.alias_info and not r.alias_info.is_write for r in schema.returns)
    if view or schema.name.removeprefix("aten::") in CHOICES:
        return [False] * len(schema.arguments)
    return [not (a.alias_info and a.alias_info.is_write) for a in schema.arguments]
