"""Which tensors are one and the same: in lists that may name one twice, and as the keys of a dictionary.

Two Python objects can stand for one tensor, and the number that `id` gives is another in every copy and is used again
after an object is gone. So nothing here or elsewhere in the package is keyed by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any, TypeVar

from pyformer import _core

Value = TypeVar("Value")


def _key(tensor: Any) -> Any:
    """A number that is a tensor's own for as long as there is the tensor; anything else is its own key."""
    return _core.identity(tensor) if isinstance(tensor, _core.Tensor) else tensor


def is_same(a: Any, b: Any) -> bool:
    """Whether a and b are one tensor (or one outline): a write into one is a write into the other's values and grad."""
    return _key(a) == _key(b)


def distinct(tensors: Iterable[Any]) -> list[Any]:
    """The tensors in their order, each once."""
    kept: dict[Any, Any] = {}
    for tensor in tensors:
        kept.setdefault(_key(tensor), tensor)
    return list(kept.values())


class TensorMap(MutableMapping[Any, Value]):
    """A dictionary whose keys are tensors, each by what it is and not by its values.

    Copies and pickles go along with copies and pickles of the tensors.
    """

    def __init__(self) -> None:
        self._items: dict[Any, tuple[Any, Value]] = {}  # with the tensor, so that its key stays its own

    def __getitem__(self, tensor: Any) -> Value:
        return self._items[_key(tensor)][1]

    def get(self, tensor: Any, default: Any = None) -> Any:
        """The tensor's value, or `default`."""
        return self._items.get(_key(tensor), (tensor, default))[1]

    def __setitem__(self, tensor: Any, value: Value) -> None:
        first, _ = self._items.get(_key(tensor), (tensor, None))  # of several objects, which copies follow
        self._items[_key(tensor)] = first, value

    def __delitem__(self, tensor: Any) -> None:
        del self._items[_key(tensor)]

    def __iter__(self) -> Iterator[Any]:
        return (tensor for tensor, _ in self._items.values())

    def __len__(self) -> int:
        return len(self._items)

    def __getstate__(self) -> list[tuple[Any, Value]]:
        return list(self._items.values())

    def __setstate__(self, pairs: list[tuple[Any, Value]]) -> None:
        self._items = {_key(tensor): (tensor, value) for tensor, value in pairs}
