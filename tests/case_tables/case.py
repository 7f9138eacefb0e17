"""What one row of the case table says; tests and benchmarks iterate the same rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    """One op on one set of inputs.

    op: the op's stem; name: what is special about this row, unique within the op.
    inputs(rng) gives the arguments by name: floats as float64, ids as int64, masks as bool.
    run(pf, **tensors) calls pyformer, torch(torch, **tensors) the oracle (None where torch has no such thing);
    each returns a tensor or a tuple of tensors.
    grads: the inputs that get a gradient. reduction: the longest sum behind one output element.
    finite: False where inputs hold infinities, NaN or extremes, so that differences prove nothing.
    bench: True for sizes that only benchmarks run. flops and bytes count one forward; bytes_both counts forward and
    backward, where 0 stands for 2.5 times forward's: read x, write out; read x and dout, write dx.
    """

    op: str
    name: str
    inputs: Callable[[np.random.Generator], dict[str, np.ndarray]]
    run: Callable[..., Any]
    torch: Callable[..., Any] | None
    grads: tuple[str, ...] = ()
    reduction: int = 1
    flops: float = 0.0
    bytes: float = 0.0
    bytes_both: float = 0.0
    finite: bool = True
    bench: bool = False

    @property
    def id(self) -> str:
        return f"{self.op}-{self.name}"
