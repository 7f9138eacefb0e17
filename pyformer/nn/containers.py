"""Modules that hold others in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pyformer.nn.module import MODULE, Module


class ModuleList(Module):
    """A list of modules, registered under the names 0, 1, 2, ...; it has no forward of its own.

    Args:
        modules: the first members.

    Raises:
        TypeError: a member is no Module.
        IndexError: an index is out of range.

    Example:
        >>> layers = pf.nn.ModuleList(pf.nn.Linear(2, 2) for _ in range(3))
        >>> len(layers), layers[-1]
        (3, Linear(2, 2, bias=True))
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def append(self, module: Module) -> ModuleList:
        """Adds a module at the end, under the number of members or the next one that is no name yet; returns the list.

        Raises:
            TypeError: it is no Module.

        Example:
            >>> pf.nn.ModuleList().append(pf.nn.ReLU())
            ModuleList(
              (0): ReLU()
            )
        """
        return self.extend([module])

    def extend(self, modules: Iterable[Module]) -> ModuleList:
        """Adds modules at the end; returns the list.

        Raises:
            TypeError: one is no Module.

        Example:
            >>> len(pf.nn.ModuleList([pf.nn.ReLU()]).extend([pf.nn.Tanh(), pf.nn.GELU()]))
            3
        """
        number = len(self)
        for module in modules:
            _check_member(module)
            while hasattr(self, str(number)):
                number += 1
            setattr(self, str(number), module)
            number += 1
        return self

    def insert(self, index: int, module: Module) -> None:
        """Puts a module before the one at `index`; the names are 0, 1, 2, ... then.

        Raises:
            TypeError: it is no Module.
            ValueError: a member has a name that is no number.

        Example:
            >>> layers = pf.nn.ModuleList([pf.nn.ReLU(), pf.nn.Tanh()])
            >>> layers.insert(1, pf.nn.GELU())
            >>> [type(layer).__name__ for layer in layers]
            ['ReLU', 'GELU', 'Tanh']
        """
        _check_member(module)
        members, names = list(self), self._names()
        if not all(name.isdecimal() for name in names):
            raise ValueError(f"insert: expected members with numbers for names, got {names}")
        members.insert(index, module)
        for name in names:
            delattr(self, name)
        for i, member in enumerate(members):
            setattr(self, str(i), member)

    def __len__(self) -> int:
        return len(self._names())

    def __iter__(self) -> Iterator[Module]:
        return iter([module for _, module in self._own(MODULE)])

    def __setitem__(self, index: int, module: Module) -> None:
        self[index]
        _check_member(module)
        setattr(self, self._names()[index], module)

    def _names(self) -> list[str]:
        return [name for name, kind in self._kinds.items() if kind == MODULE]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        names = self._names()
        if not -len(names) <= index < len(names):
            raise IndexError(f"ModuleList: index {index} is out of range of {len(names)} modules")
        return getattr(self, names[index])


def _check_member(module: Any) -> None:
    if not isinstance(module, Module):
        raise TypeError(f"ModuleList: expected a Module, got {type(module).__name__}")


class Sequential(ModuleList):
    """Modules one after the other, each fed what the one before gives. A slice is a Sequential of modules under the
    names that they have here.

    Args:
        modules: the modules, in order, or one dict of them by name.

    Raises:
        TypeError: a member is no Module.
        KeyError: a name is one that Module itself uses.

    Example:
        >>> net = pf.nn.Sequential(pf.nn.Linear(4, 8), pf.nn.ReLU(), pf.nn.Linear(8, 2))
        >>> net(pf.zeros(3, 4)).shape
        (3, 2)
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        named = modules[0] if len(modules) == 1 else None
        if not isinstance(named, Mapping):
            super().__init__(modules)  # type: ignore[arg-type]
            return
        super().__init__()
        for name, module in named.items():
            _check_member(module)
            self.add_module(name, module)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):  # the members keep their names
            return type(self)(dict(self._own(MODULE)[index]))
        return super().__getitem__(index)

    def forward(self, x: Any) -> Any:
        """What the last module gives."""
        for module in self:
            x = module(x)
        return x
