"""torch's place of `pad_sequence`. There are no packed sequences: recurrent layers take `lengths=`."""

from __future__ import annotations

from collections.abc import Iterable

from pyformer._core import Tensor, ops
from pyformer.names import full_like

__all__ = ["pad_sequence"]


def pad_sequence(sequences: Iterable[Tensor], batch_first: bool = False, padding_value: float = 0.0) -> Tensor:
    """Tensors (T_i, ...) of unequal lengths as one (T, B, ...), or (B, T, ...) where batch_first, filled up.

    Raises:
        ValueError: there is none, or the shapes differ in more than the length.

    Example:
        >>> rows = [pf.tensor([1.0, 2.0]), pf.tensor([3.0])]
        >>> pf.nn.utils.rnn.pad_sequence(rows, batch_first=True).tolist()
        [[1.0, 2.0], [3.0, 0.0]]
    """
    rows = list(sequences)
    longest = max((len(row) for row in rows), default=0)
    filled = []
    for row in rows:
        widths = [(0, longest - len(row))] + [(0, 0)] * (row.ndim - 1)
        there = ops.pad(full_like(row, True, dtype="bool"), widths) if padding_value else None
        padded = ops.pad(row, widths)
        filled.append(padded if there is None else ops.where(there, padded, padding_value))
    return ops.stack(filled, 0 if batch_first else 1)
