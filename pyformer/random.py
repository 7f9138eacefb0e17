"""The state of this process's random numbers: what dropout, weights and `pf.randn` draw."""

from __future__ import annotations

from collections.abc import Sequence

from pyformer import _core
from pyformer._core import manual_seed

__all__ = ["get_state", "manual_seed", "set_state"]


def get_state() -> tuple[int, int]:
    """The state of the random numbers, for `set_state`: the seed, and how many draws there have been since.

    It is two ints, so that a checkpoint can hold it as it is.

    Returns:
        (seed, draws).

    Example:
        >>> pf.manual_seed(7)
        >>> _ = pf.randn(2)
        >>> pf.random.get_state()
        (7, 1)
    """
    return _core.rng_state()


def set_state(state: Sequence[int]) -> None:
    """Goes back to a state that `get_state` gave: the same numbers come again.

    Args:
        state: (seed, draws), a tuple or, out of a file, a list.

    Raises:
        TypeError: it is no pair of ints.
        ValueError: one of them is negative or has more than 64 bits.

    Example:
        >>> state = pf.random.get_state()
        >>> first = pf.randn(3)
        >>> pf.random.set_state(state)
        >>> (pf.randn(3) == first).all().item()
        True
    """
    pair = list(state) if isinstance(state, Sequence) else []
    if len(pair) != 2 or any(isinstance(x, bool) or not isinstance(x, int) for x in pair):
        raise TypeError(f"set_state: expected (seed, draws), two ints as get_state gives them, got {state!r}")
    if not all(0 <= x < 2**64 for x in pair):
        raise ValueError(f"set_state: expected numbers of 64 bits, got {tuple(pair)}")
    _core.set_rng_state(*pair)
