"""DataLoader: what batches hold, the order by seed, going on after a stop."""

from __future__ import annotations

import itertools
from collections import namedtuple

import numpy as np
import pytest

import pyformer as pf
from pyformer.data import DataLoader

NUMBERS = np.arange(10)


def passes(loader, count=1):
    return [[batch.tolist() for batch in loader] for _ in range(count)]


def test_arrays_in_order():
    assert passes(DataLoader(NUMBERS, 4)) == [[[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]]
    assert passes(DataLoader(NUMBERS, 4, drop_last=True)) == [[[0, 1, 2, 3], [4, 5, 6, 7]]]
    assert (len(DataLoader(NUMBERS, 4)), len(DataLoader(NUMBERS, 4, drop_last=True)), len(DataLoader(NUMBERS[:0]))) == (
        3,
        2,
        0,
    )
    assert passes(DataLoader(NUMBERS[:0], 4)) == [[]]


def test_what_a_batch_is():
    Pair = namedtuple("Pair", "x y")
    x, y = np.zeros((6, 2), np.float32), pf.arange(6)
    for data, kind in (((x, y), tuple), (Pair(x, y), Pair), ({"x": x, "y": y}, dict)):
        batch = next(iter(DataLoader(data, 4)))
        assert type(batch) is kind
        columns = list(batch.values()) if kind is dict else batch
        assert [(type(c), c.shape, c.dtype) for c in columns] == [
            (pf.Tensor, (4, 2), pf.float32),
            (pf.Tensor, (4,), pf.int64),
        ]


def test_a_batch_is_a_copy():
    x = np.zeros(4)
    next(iter(DataLoader(x, 4)))[0] = 1.0
    assert x[0] == 0.0


def test_examples_are_stacked_by_column():
    examples = [(np.full(2, i), i, f"text {i}", {"n": float(i)}) for i in range(3)]
    x, i, texts, more = next(iter(DataLoader(examples, 2)))
    assert (x.tolist(), i.tolist(), texts, more["n"].tolist()) == (
        [[0, 0], [1, 1]],
        [0, 1],
        ["text 0", "text 1"],
        [0.0, 1.0],
    )
    with pytest.raises(ValueError, match=r"examples of the keys \['a'\], got \['a', 'b'\]"):
        next(iter(DataLoader([{"a": 1}, {"a": 2, "b": 3}], 2)))
    with pytest.raises(ValueError, match=r"one shape, got \[\(1,\), \(2,\)\]; give a collate"):
        next(iter(DataLoader([np.zeros(1), np.zeros(2)], 2)))
    assert next(iter(DataLoader([[1], [2, 3]], 2, collate=lambda rows: list(itertools.chain(*rows))))) == [1, 2, 3]


class Dataset:
    def __len__(self):
        return 5

    def __getitem__(self, i):
        return np.float32(i)


class Stream:
    def __iter__(self):
        return iter(range(7))


def test_a_dataset_with_getitem_and_an_iterable_without_length():
    assert passes(DataLoader(Dataset(), 2)) == [[[0.0, 1.0], [2.0, 3.0], [4.0]]]
    assert passes(DataLoader(Stream(), 3, drop_last=True), 2) == [[[0, 1, 2], [3, 4, 5]]] * 2
    with pytest.raises(TypeError, match="no length"):
        len(DataLoader(Stream()))


def test_each_pass_has_an_order_of_its_own_by_the_seed():
    first, second = passes(DataLoader(NUMBERS, 5, shuffle=True, seed=3), 2)
    assert sorted(list(itertools.chain(*first))) == list(NUMBERS)
    assert first != second
    assert passes(DataLoader(NUMBERS, 5, shuffle=True, seed=3), 2) == [first, second]
    assert passes(DataLoader(NUMBERS, 5, shuffle=True, seed=4))[0] != first
    # The order itself, which a new version must not change: runs go on by it.
    assert list(itertools.chain(*first)) == ORDER


ORDER = [3, 1, 9, 8, 6, 7, 4, 2, 0, 5]


@pytest.mark.parametrize("data", [NUMBERS, list(range(10)), Stream()], ids=["array", "list", "stream"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_loaded_state_goes_on_with_the_next_batch(data, shuffle):
    if shuffle and isinstance(data, Stream):
        with pytest.raises(ValueError, match="length to shuffle"):
            DataLoader(data, shuffle=True)
        return

    def endless(loader):
        while True:
            for batch in loader:
                yield batch.tolist(), loader.state_dict()

    straight = list(itertools.islice(endless(DataLoader(data, 3, shuffle)), 11))
    for stop in range(11):
        loader = DataLoader(data, 3, shuffle)
        if stop:
            loader.load_state_dict(straight[stop - 1][1])
        assert list(itertools.islice(endless(loader), 11 - stop)) == straight[stop:]


def test_a_pass_that_was_broken_off_is_over():
    loader = DataLoader(NUMBERS, 5)
    next(iter(loader))
    assert next(iter(loader)).tolist() == [0, 1, 2, 3, 4]
    assert loader.epoch == 1


def test_errors_of_data_loader():
    for wrong, message in ((0, "at least 1"), (2.0, "must be an int"), (True, "must be an int")):
        with pytest.raises((ValueError, TypeError), match=message):
            DataLoader(NUMBERS, wrong)
    with pytest.raises(ValueError, match="one length"):
        DataLoader((NUMBERS, NUMBERS[:3]))
    with pytest.raises(TypeError, match="got int"):
        DataLoader(3)
    with pytest.raises(TypeError, match="got list among them"):
        DataLoader((NUMBERS, [1]))
    with pytest.raises(TypeError, match="mask"):
        DataLoader(np.ma.array([1, 2], mask=[0, 1]))
    masked = np.ma.array([1.0, 2.0], mask=[0, 1])
    for examples in ([masked, masked], [(masked, 1), (masked, 2)], [NUMBERS[:2], masked]):
        with pytest.raises(TypeError, match="mask"):
            list(DataLoader(examples, 2))
    with pytest.raises(TypeError, match="iterator"):
        DataLoader(iter([1]))
    loader = DataLoader(NUMBERS, 2, seed=1)
    with pytest.raises(ValueError, match="seed 0, this loader has 1"):
        loader.load_state_dict({"seed": 0, "epoch": 0, "batch": 0})
    for wrong in (None, {}, {"seed": 1, "epoch": 0, "batch": -1}):
        with pytest.raises(ValueError, match="expected a state"):
            loader.load_state_dict(wrong)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "int32"])
def test_examples_of_any_dtype_become_a_batch_of_it(dtype):
    examples = [pf.tensor([i, i + 1], dtype=dtype) for i in range(3)]
    batch = next(iter(DataLoader(examples, 3)))
    assert batch.dtype == examples[0].dtype
    assert batch.to("float32").numpy().tolist() == [[0, 1], [1, 2], [2, 3]]
    pair = next(iter(DataLoader([(x, x[0]) for x in examples], 2)))
    assert [part.dtype == batch.dtype for part in pair] == [True, True]
    assert pair[1].shape == (2,)
    whole = next(iter(DataLoader(pf.ops.stack(examples), 2)))
    assert whole.dtype == batch.dtype


def test_a_state_of_other_batches_is_refused_and_empty_passes_count():
    def loader(size, count=10, **options):
        return pf.data.DataLoader(list(range(count)), batch_size=size, shuffle=True, seed=1, **options)

    first = loader(3)
    next(iter(first))
    for other, message in ((loader(5), "batch_size 3, this"), (loader(3, 11), "examples 10, this loader has 11")):
        with pytest.raises(ValueError, match=f"DataLoader: the state is of {message}"):
            other.load_state_dict(first.state_dict())
    with pytest.raises(ValueError, match="the state is at batch 7 of a pass of 2"):
        loader(3, 5).load_state_dict({"seed": 1, "epoch": 0, "batch": 7})
    empty = loader(3, 2, drop_last=True)
    assert [list(empty), list(empty)] == [[], []]
    assert empty.epoch == 2


def test_examples_of_a_subclass_of_tensor_dataset_are_what_it_says():
    class Doubled(pf.data.TensorDataset):
        def __getitem__(self, index):
            return tuple(2 * column for column in super().__getitem__(index))

    class First(pf.data.TensorDataset):
        def __len__(self):
            return 3

    class Same(pf.data.TensorDataset):
        pass

    def batches(kind):
        return [batch.tolist() for (batch,) in DataLoader(kind(NUMBERS[:5]), 2)]

    assert batches(Doubled) == [[0, 2], [4, 6], [8]]
    assert batches(First) == [[0, 1], [2]]
    assert batches(Same) == batches(pf.data.TensorDataset) == [[0, 1], [2, 3], [4]]


def test_one_collate_is_taken():
    with pytest.raises(TypeError, match="expected collate or collate_fn, its other name, got both"):
        DataLoader([1, 2], collate=sum, collate_fn=sum)
    for name in ("collate", "collate_fn"):
        assert list(DataLoader([1, 2], 2, **{name: sum}, pin_memory=True)) == [3]
    assert "pin_memory: torch's word, taken without effect" in DataLoader.__doc__


def test_a_number_of_a_subset_that_is_not_there_is_no_end():
    subset = pf.data.Subset(range(3), [0, 7, 1])
    with pytest.raises(IndexError):
        list(subset)
    assert list(pf.data.Subset(range(3), [2, 0])) == [2, 0]
