"""Exchange of arrays with other libraries on the emulated device, with the stream rule of the array API standard."""

from __future__ import annotations

import ctypes
import threading

import cuda_device
import numpy as np
import pytest
from cuda_queued import DEVICE, Prepared, changed, in_thread, waits

import pyformer as pf
from pyformer import _core


@pytest.fixture(autouse=True, scope="module")
def _device():
    cuda_device.library()
    cuda_device.schedule("drawn,late,seed=7")
    yield
    cuda_device.schedule("lowest,early")


class Foreign:
    """Another library's array over a tensor; `stream` is what it is told instead of the consumer's."""

    def __init__(self, tensor, stream=None):
        self.tensor, self.stream, self.told = tensor, stream, []

    def __dlpack_device__(self):
        return self.tensor.__dlpack_device__()

    def __dlpack__(self, *, stream=None, max_version=None):
        self.told.append(stream)
        return self.tensor.__dlpack__(stream=self.stream or stream, max_version=max_version)


def test_from_dlpack_names_its_stream_and_waits():
    source = Foreign(changed())
    shared = in_thread(lambda: pf.from_dlpack(source).tolist())
    assert shared == [2.0, 2.0, 2.0]
    assert source.told[0] > 2
    x = pf.from_dlpack(source)
    assert x.device == DEVICE
    _core.copy_(x, pf.ones(3, device=DEVICE))
    assert source.tensor.tolist() == [1.0, 1.0, 1.0]  # no copy


def consumed(source, stream):
    """What another thread sees on that stream."""

    def consume():
        before = _core.enter_stream(DEVICE, stream)
        found = pf.from_dlpack(source).tolist()
        _core.enter_stream(DEVICE, before)
        return found

    return in_thread(consume)


def test_the_consumers_stream_waits():
    stream = _core.make_stream(DEVICE)
    assert consumed(Prepared(changed(), stream), stream) == [2.0, 2.0, 2.0]
    assert consumed(Prepared(changed(), None), 1) == [2.0, 2.0, 2.0]
    assert consumed(Prepared(changed(), 1), 1) == [2.0, 2.0, 2.0]
    assert consumed(Prepared(changed(), -1), _core.make_stream(DEVICE)) == [0.0, 0.0, 0.0]  # what no wait looks like


@pytest.mark.parametrize("number", [None, 1, "own"])
def test_memory_is_not_reused_before_its_consumer_is_done_with_it(number):
    """It lets it go when its kernel is queued."""
    stream = _core.make_stream(DEVICE) if number == "own" else 1
    source = [Prepared(changed(), stream if number else None)]

    def consume():
        before = _core.enter_stream(DEVICE, stream)
        y = pf.from_dlpack(source.pop()) + 1
        here.wait()  # so that nothing is ordered by going back
        there.wait()
        _core.enter_stream(DEVICE, before)
        return y

    here, there = threading.Barrier(2, timeout=20), threading.Barrier(2, timeout=20)
    found = []
    thread = threading.Thread(target=lambda: found.append(consume()))
    thread.start()
    here.wait()
    again = [pf.full((3,), 9.0, device=DEVICE) for _ in range(3)]  # in the memory of the tensor
    pf.cuda.synchronize(DEVICE)
    there.wait()
    thread.join()
    assert found[0].tolist() == [3.0, 3.0, 3.0]
    assert len(again) == 3


def test_dlpack_refuses_streams_that_are_none():
    x = pf.ones(2, device=DEVICE)
    for wrong in (0, -2):
        with pytest.raises(ValueError, match=f"stream must be None, -1 or from 1, got {wrong}"):
            x.__dlpack__(stream=wrong)
    with pytest.raises(TypeError, match="stream to be None or an int"):
        x.__dlpack__(stream="own")
    with pytest.raises(BufferError, match=r"is on cuda:emulated, which is device \(12, 0\)"):
        x.__dlpack__(dl_device=(1, 0))
    assert x.__dlpack_device__() == (12, 0)


def test_an_import_shares_and_waits_for_nothing():
    x = changed()
    before = waits()
    y = pf.from_dlpack(x)
    assert waits() == before
    assert y.tolist() == [2.0, 2.0, 2.0]


def turned(capsule):
    """An unversioned capsule of a matrix, as one of its columns."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    *_, shape, strides = (ctypes.c_void_p * 5).from_address(pointer(capsule, b"dltensor"))
    for address in (shape, strides):
        numbers = (ctypes.c_int64 * 2).from_address(address)
        numbers[:] = numbers[::-1]
    return capsule


def test_an_import_of_columns_is_a_copy():
    x = pf.tensor(np.arange(6.0, dtype=np.float32).reshape(2, 3), device=DEVICE)

    class Columns(Foreign):
        def __dlpack__(self, *, stream=None, max_version=None):
            return turned(self.tensor.__dlpack__(stream=stream))

    columns = pf.from_dlpack(Columns(x))
    assert columns.device == DEVICE
    assert columns.tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    _core.copy_(x, x + 1)
    assert columns.tolist()[0] == [0.0, 3.0]
