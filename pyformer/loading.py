"""pf.data.DataLoader: batches of arrays or of examples, shuffled by a seed, that go on after a stop."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pyformer._core import Tensor, asarray, tensor
from pyformer._core.ops import stack
from pyformer.arrays import refuse_mask


class DataLoader:
    r"""Batches of a data set, one pass over it each time it is iterated.

    The order of a pass depends on `seed` and on the number of the pass alone. `state_dict()`, taken anywhere in a pass,
    is small; a loader of the same data that loads it goes on with the very next batch. There are no worker processes
    or threads, and it takes one pass at a time.

    Args:
        data: what there is, one of
            an array or Tensor (n, ...): batches are Tensors (batch_size, ...);
            a tuple or dict of arrays of equal length n: batches are tuples or dicts of Tensors;
            a list or another sequence of examples: batches are what `collate` makes of a list of them;
            any other iterable of examples, which is started anew for each pass, and can't be shuffled.
        batch_size: examples a batch.
        shuffle: whether each pass has an order of its own.
        seed: of the order.
        drop_last: leaves out a last batch that would be smaller.
        collate: list of examples -> batch; of arrays, rows are the examples. By default numbers and arrays become one
            Tensor with a first axis more, tuples and dicts go column by column, and other things stay a list.
        collate_fn: torch's word for collate.
        num_workers: torch's word; 0, as there are none.
        pin_memory: torch's word, taken without effect: batches lie in the host's memory as it is.

    Attributes:
        dataset: the data.
        epoch: the number of the pass that the next batch belongs to, from 0.

    Raises:
        ValueError: arrays differ in length, batch_size is below 1, or an iterable without a length is to be shuffled.
        TypeError: an argument is of the wrong type, data is nothing to iterate over, or collate and collate_fn are both
            given.

    Example:
        >>> x, y = np.arange(10.0), np.arange(10) % 2
        >>> loader = pf.data.DataLoader((x, y), batch_size=4)
        >>> for inputs, targets in loader:
        ...     print(inputs.tolist(), targets.tolist())
        [0.0, 1.0, 2.0, 3.0] [0, 1, 0, 1]
        [4.0, 5.0, 6.0, 7.0] [0, 1, 0, 1]
        [8.0, 9.0] [0, 1]
        >>> len(loader), loader.epoch, loader.state_dict()
        (3, 1, {'seed': 0, 'epoch': 1, 'batch': 0, 'batch_size': 4, 'examples': 10})
    """

    def __init__(
        self,
        data: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        collate: Callable[[list[Any]], Any] | None = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        if num_workers:
            raise ValueError("DataLoader: expected num_workers=0, batches are made in this process")
        for name, value, low in (("batch_size", batch_size, 1), ("seed", seed, 0)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise TypeError(f"DataLoader: {name} must be an int, got {type(value).__name__}")
            if not low <= value < 2**63:
                raise ValueError(f"DataLoader: {name} must be at least {low} and below 2**63, got {value}")
        self.batch_size, self.shuffle, self.drop_last = int(batch_size), bool(shuffle), bool(drop_last)
        self.seed, self.epoch = int(seed), 0
        if collate is not None and collate_fn is not None:
            raise TypeError("DataLoader: expected collate or collate_fn, its other name, got both")
        self.dataset = data
        if _is_its_tensors(data):
            data = data.tensors
        self._data, self._collate = data, collate or collate_fn or _stacked
        self._takes_rows = self._collate is not _stacked
        self._columns = _columns(data)
        self._count = _count(data, self._columns)
        if self._count is None and shuffle:
            raise ValueError("DataLoader: expected data with a length to shuffle, got an iterable without one")
        self._batch = 0  # the number, in its pass, of the next batch
        self._loaded = False

    def __len__(self) -> int:
        """Batches of a pass; TypeError if the data has no length."""
        if self._count is None:
            raise TypeError("DataLoader: its data has no length")
        return self._count // self.batch_size if self.drop_last else -(-self._count // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        if self._batch and not self._loaded:  # the pass before was broken off
            self._begin_pass(self.epoch + 1)
        self._loaded = False
        for batch in self._pass(self.epoch, self._batch):
            self._batch += 1
            if self._count is not None and self._batch == len(self):
                self._begin_pass(self.epoch + 1)
            yield batch
        if self._count is None or not len(self):
            self._begin_pass(self.epoch + 1)

    def state_dict(self) -> dict[str, int | None]:
        """Where it is, for `load_state_dict`: seed, epoch, and the batches that the epoch has given, of which size and
        of how many examples. JSON values."""
        place: dict[str, int | None] = {"seed": self.seed, "epoch": self.epoch, "batch": self._batch}
        return {**place, "batch_size": self.batch_size, "examples": self._count}

    def load_state_dict(self, state: Mapping[str, int | None]) -> None:
        """Makes the next iteration go on from a state that `state_dict` gave.

        Of an iterable without a length, the examples that were already seen are read again and dropped.

        Raises:
            ValueError: the state is of another seed, batch_size or number of examples, or something is missing or
                negative.
        """
        values = [state.get(name) for name in ("seed", "epoch", "batch")] if isinstance(state, Mapping) else []
        if not values or any(isinstance(v, bool) or not isinstance(v, int) or v < 0 for v in values):
            raise ValueError(f"DataLoader: expected a state with seed, epoch and batch, got {state!r}")
        if values[0] != self.seed:
            raise ValueError(f"DataLoader: the state is of seed {values[0]}, this loader has {self.seed}")
        for name, own in (("batch_size", self.batch_size), ("examples", self._count)):
            if state.get(name, own) != own:
                raise ValueError(f"DataLoader: the state is of {name} {state[name]}, this loader has {own}")
        if self._count is not None and values[2] > len(self):
            raise ValueError(f"DataLoader: the state is at batch {values[2]} of a pass of {len(self)}")
        self._begin_pass(values[1])
        self._batch, self._loaded = values[2], True

    def _begin_pass(self, epoch: int) -> None:
        self.epoch, self._batch = epoch, 0

    def _pass(self, epoch: int, first: int) -> Iterator[Any]:
        if self._count is None:
            return self._examples(first)
        order = self._order(epoch)
        starts = range(first * self.batch_size, len(self) * self.batch_size, self.batch_size)
        return (self._at(order[start : start + self.batch_size]) for start in starts)

    def _order(self, epoch: int) -> np.ndarray:
        assert self._count is not None
        if not self.shuffle:
            return np.arange(self._count)
        # From the raw numbers: those, unlike NumPy's permutation, are the same in every version.
        raw = np.random.Philox(key=self.seed, counter=[0, epoch, 0, 1]).random_raw(self._count)
        return np.argsort(raw, kind="stable")

    def _at(self, places: np.ndarray) -> Any:
        if self._columns is None:
            return self._collate([self._data[i] for i in places.tolist()])
        if self._takes_rows:
            rows = ([column[i] for column in self._columns] for i in places.tolist())
            return self._collate([_like(self._data, row) for row in rows])
        return _like(self._data, [_taken(column, places) for column in self._columns])

    def _examples(self, first: int) -> Iterator[Any]:
        examples = itertools.islice(self._data, first * self.batch_size, None)
        while batch := list(itertools.islice(examples, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield self._collate(batch)


class Dataset:
    """The base of data sets by torch's name; one defines `__len__` and `__getitem__`, an example by its number.

    A `DataLoader` takes any object that has these two, of this class or not.

    Raises:
        NotImplementedError: an example is asked for and `__getitem__` is not defined.

    Example:
        >>> class Squares(pf.data.Dataset):
        ...     def __len__(self):
        ...         return 3
        ...     def __getitem__(self, i):
        ...         return float(i), i * i
        >>> next(iter(pf.data.DataLoader(Squares(), batch_size=3)))
        (tensor([0., 1., 2.], dtype=float32), tensor([0, 1, 4], dtype=int64))
    """

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__}: __getitem__ is not defined")


class TensorDataset(Dataset):
    """Tensors or arrays of one length n as a data set of n tuples; a DataLoader takes `(x, y)` as well.

    Args:
        tensors: arrays or Tensors of one length; example i is a tuple of their rows i.

    Raises:
        ValueError: the lengths differ.
        TypeError: one is no array (n, ...).

    Example:
        >>> data = pf.data.TensorDataset(pf.arange(3), pf.ones(3))
        >>> len(data), data[2]
        (3, (tensor(2, dtype=int64), tensor(1., dtype=float32)))
    """

    def __init__(self, *tensors: Any) -> None:
        _columns(tensors)
        if not tensors:
            raise TypeError("TensorDataset: expected at least one array")
        self.tensors = tuple(asarray(column) for column in tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(column[index] for column in self.tensors)


class Subset(Dataset):
    """The examples of a data set at certain numbers.

    Args:
        dataset: anything with an index.
        indices: the numbers in it of the examples, in the order in which they are wanted.

    Raises:
        IndexError: an example is asked for that is not there.

    Example:
        >>> list(pf.data.Subset("abcd", [3, 0]))
        ['d', 'a']
    """

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Any]:
        # Else Python would take the IndexError of a number that is not there for the end.
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]


def random_split(dataset: Any, lengths: Sequence[float], seed: int = 0) -> list[Subset]:
    """Parts of a data set, drawn at random by a seed.

    Args:
        dataset: with a length and examples by number.
        lengths: of the parts; or fractions that add up to 1, where what rounding leaves goes to the first parts.
        seed: the same one always gives the same parts.

    Returns:
        A `Subset` for each length.

    Raises:
        ValueError: the lengths do not add up to that of the data set, or fractions to 1.

    Example:
        >>> train, test = pf.data.random_split(range(10), [0.8, 0.2])
        >>> len(train), len(test), sorted([*train, *test]) == list(range(10))
        (8, 2, True)
    """
    count = len(dataset)
    if any(isinstance(length, float) for length in lengths):
        if abs(sum(lengths) - 1.0) > 1e-6:
            raise ValueError(f"random_split: expected fractions that add up to 1, got {list(lengths)}")
        sizes = [int(count * length) for length in lengths]
        for i in range(count - sum(sizes)):
            sizes[i % len(sizes)] += 1
    else:
        sizes = [int(length) for length in lengths]
    if sum(sizes) != count or min(sizes, default=0) < 0:
        raise ValueError(f"random_split: expected lengths that add up to {count}, got {list(lengths)}")
    raw = np.random.Philox(key=seed, counter=[0, 0, 0, 3]).random_raw(count)
    order = np.argsort(raw, kind="stable").tolist()
    ends = list(itertools.accumulate(sizes))
    return [Subset(dataset, order[end - size : end]) for size, end in zip(sizes, ends, strict=True)]


def _is_its_tensors(data: Any) -> bool:
    """Whether it is a TensorDataset whose examples are the rows of its tensors, which may be taken many at a time."""
    if not isinstance(data, TensorDataset):
        return False
    kind = type(data)
    return kind.__getitem__ is TensorDataset.__getitem__ and kind.__len__ is TensorDataset.__len__


def _is_array(value: Any) -> bool:
    return isinstance(value, (Tensor, np.ndarray))


def _columns(data: Any) -> list[Any] | None:
    """The arrays that data consists of, or None where it consists of examples."""
    if _is_array(data):
        columns = [data]
    elif isinstance(data, Mapping):
        columns = list(data.values())
    elif isinstance(data, tuple):
        columns = list(data)
    else:
        return None
    for column in columns:
        refuse_mask("DataLoader", column)
        if not _is_array(column) or not column.ndim:
            raise TypeError(f"DataLoader: expected arrays (n, ...), got {type(column).__name__} among them")
    if len({len(column) for column in columns}) != 1:
        raise ValueError(f"DataLoader: expected arrays of one length, got {[len(column) for column in columns]}")
    return columns


def _count(data: Any, columns: list[Any] | None) -> int | None:
    if columns is not None:
        return len(columns[0])
    if hasattr(data, "__len__") and hasattr(data, "__getitem__"):
        return len(data)
    if not isinstance(data, Iterable):
        raise TypeError(f"DataLoader: expected arrays or an iterable of examples, got {type(data).__name__}")
    if isinstance(data, Iterator):
        raise TypeError("DataLoader: expected an iterable that can be started anew, got an iterator; use list(...)")
    return None


def _taken(column: Any, places: np.ndarray) -> Tensor:
    return column[places] if isinstance(column, Tensor) else tensor(column[places])


def _like(data: Any, columns: list[Any]) -> Any:
    """Columns as data has them: alone, in a dict, or in a tuple, a named one too."""
    if _is_array(data):
        return columns[0]
    if isinstance(data, Mapping):
        return dict(zip(data, columns, strict=True))
    return type(data)(*columns) if hasattr(data, "_fields") else tuple(columns)


def _stacked(examples: Sequence[Any]) -> Any:
    """A batch of examples: a Tensor of numbers or arrays, columns of tuples and dicts, a list of anything else."""
    first = examples[0]
    if isinstance(first, Mapping):
        names = next((example for example in examples if set(example) != set(first)), first)
        if names is not first:
            raise ValueError(f"DataLoader: expected examples of the keys {list(first)}, got {list(names)}")
        return {name: _stacked([example[name] for example in examples]) for name in first}
    if isinstance(first, tuple):
        return _like(first, [_stacked(column) for column in zip(*examples, strict=True)])
    if isinstance(first, (bool, int, float, np.number, np.bool_)):
        return tensor(list(examples))
    if _is_array(first):
        refuse_mask("DataLoader", list(examples))
        shapes = {tuple(example.shape if _is_array(example) else np.shape(example)) for example in examples}
        if len(shapes) != 1:
            raise ValueError(f"DataLoader: expected examples of one shape, got {sorted(shapes)}; give a collate")
        if all(isinstance(example, Tensor) and example.dtype == first.dtype for example in examples):
            return stack(list(examples))
        return asarray(np.stack([np.asarray(example) for example in examples]))
    return list(examples)
