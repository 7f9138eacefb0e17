"""Which tensors are one and the same: in lists that may name one twice, and as the keys of a dictionary.

Two Python objects can stand for one tensor, and the number that `id` gives is another in every copy and is used again
after an object is gone. So nothing here or elsewhere in the package is keyed by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any, TypeVar

from pyformer import _core

Value = TypeVar("Value")


class _Key:
    """A tensor as a key; it keeps the tensor alive, so that its number stays its own."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor

    def __hash__(self) -> int:
        return hash(_number(self.tensor))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and _number(self.tensor) == _number(other.tensor)


def _number(tensor: Any) -> Any:
    return _core.identity(tensor) if isinstance(tensor, _core.Tensor) else tensor


def is_same(a: Any, b: Any) -> bool:
    """Whether a and b are one tensor (or one outline): a write into one is a write into the other's values and grad."""
    return _Key(a) == _Key(b)


def distinct(tensors: Iterable[Any]) -> list[Any]:
    """The tensors in their order, each once."""
    return [key.tensor for key in dict.fromkeys(map(_Key, tensors))]


class TensorMap(MutableMapping[Any, Value]):
    """A dictionary whose keys are tensors, each by what it is and not by its values.

    Copies and pickles go along with copies and pickles of the tensors.
    """

    def __init__(self) -> None:
        self._items: dict[_Key, Value] = {}

    def __getitem__(self, tensor: Any) -> Value:
        return self._items[_Key(tensor)]

    def __setitem__(self, tensor: Any, value: Value) -> None:
        self._items[_Key(tensor)] = value

    def __delitem__(self, tensor: Any) -> None:
        del self._items[_Key(tensor)]

    def __iter__(self) -> Iterator[Any]:
        return (key.tensor for key in self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __getstate__(self) -> list[tuple[Any, Value]]:
        return [(key.tensor, value) for key, value in self._items.items()]

    def __setstate__(self, pairs: list[tuple[Any, Value]]) -> None:
        self._items = {_Key(tensor): value for tensor, value in pairs}
