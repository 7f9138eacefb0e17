"""The state of this process's random numbers: what dropout, weights and `pf.randn` draw."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pyformer import _core
from pyformer._core import manual_seed

__all__ = ["Generator", "get_state", "manual_seed", "set_state"]


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
    _core.set_rng_state(*_checked(state))


def _checked(state: Any) -> tuple[int, int]:
    pair = list(state) if isinstance(state, (Sequence, np.ndarray)) else []
    if len(pair) != 2 or not all(_is_int(x) for x in pair):
        raise TypeError(f"set_state: expected (seed, draws), two ints as get_state gives them, got {state!r}")
    if not all(0 <= x < 2**64 for x in pair):
        raise ValueError(f"set_state: expected numbers of 64 bits, got {tuple(pair)}")
    return int(pair[0]), int(pair[1])


def _is_int(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


class Generator:
    """Random numbers apart from those of the process: what `generator=` of `pf.randn` and its like takes.

    It begins with the seed 0. Its numbers are those that the process draws after `manual_seed` with the same seed.
    While one thread draws with a generator, no other should draw.

    Args:
        device: taken as torch takes it; numbers are the same on every device.

    Raises:
        ValueError: the device is not known.

    Example:
        >>> generator = pf.Generator().manual_seed(7)
        >>> first = pf.randn(3, generator=generator)
        >>> pf.manual_seed(7)
        >>> (pf.randn(3) == first).all().item()
        True
    """

    def __init__(self, device: Any = None) -> None:
        self.device = _core.device(device)
        self._state = (0, 0)

    def manual_seed(self, seed: int) -> Generator:
        """Begins again with a seed from 0 to 2**64 - 1, an int of Python's or NumPy's, and returns itself.

        Raises:
            TypeError: it is no int; True and False are none.
            ValueError: it is out of range.
        """
        if not _is_int(seed):
            raise TypeError(f"manual_seed: expected an integer, got {type(seed).__name__}")
        if not 0 <= seed < 2**64:
            raise ValueError(f"manual_seed: expected a seed from 0 to 2**64 - 1, got {seed}")
        self._state = int(seed), 0
        return self

    def initial_seed(self) -> int:
        """The seed that it began with."""
        return self._state[0]

    def seed(self) -> int:
        """Begins again with a seed that the system draws, and returns it."""
        return self.manual_seed(int.from_bytes(os.urandom(8), "little")).initial_seed()

    def get_state(self) -> tuple[int, int]:
        """(seed, draws), as `pf.random.get_state`."""
        return self._state

    def set_state(self, state: Sequence[int]) -> None:
        """Goes back to a state that `get_state` gave."""
        self._state = _checked(state)

    def __repr__(self) -> str:
        return f"Generator(seed={self._state[0]}, draws={self._state[1]})"


@contextlib.contextmanager
def drawing_from(generator: Generator | None) -> Iterator[None]:
    """Within it, numbers are drawn from a generator, or from the process's own for None."""
    if generator is None:
        yield
        return
    if not isinstance(generator, Generator):
        raise TypeError(f"generator: expected a pf.Generator, got {type(generator).__name__}")
    before = _core.rng_state()
    _core.set_rng_state(*generator._state)
    try:
        yield
        generator._state = _core.rng_state()
    finally:
        _core.set_rng_state(*before)
