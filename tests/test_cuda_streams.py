"""Streams of the emulated device, and who waits for whom: what is queued runs only when somebody waits for it, so that
a wait that is missing is seen, and one too many is counted."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from pathlib import Path

import cuda_device
import numpy as np
import pytest
from cuda_queued import DEVICE, Prepared, changed, in_thread, trainer, waits
from test_cuda import gpt

import pyformer as pf
from pyformer import _core


@pytest.fixture(autouse=True, scope="module")
def _device():
    cuda_device.library()
    cuda_device.schedule("drawn,late,seed=7")
    yield
    cuda_device.schedule("lowest,early")


def test_threads_hand_tensors_to_each_other():
    x = changed()
    y = in_thread(lambda: x + 1)
    assert y.tolist() == [3.0, 3.0, 3.0]
    assert in_thread(lambda: (x * y).tolist()) == [6.0, 6.0, 6.0]


def test_a_write_waits_for_what_another_thread_reads():
    x = changed()
    y = in_thread(lambda: x + 1)
    _core.copy_(x, pf.full((3,), 7.0, device=DEVICE))
    assert x.tolist() == [7.0, 7.0, 7.0]
    assert y.tolist() == [3.0, 3.0, 3.0]


def test_memory_is_not_reused_before_another_thread_is_done_with_it():
    held = [changed()]
    y = in_thread(lambda: held.pop() + 1)
    again = [pf.full((3,), 9.0, device=DEVICE) for _ in range(3)]  # in the memory of x
    pf.cuda.synchronize(DEVICE)
    assert y.tolist() == [3.0, 3.0, 3.0]
    assert len(again) == 3


def test_memory_waits_for_each_of_two_threads_that_read_it_at_once():
    """The first comes to it before the second does, and queues its kernel behind."""
    held, barrier = [changed()], threading.Barrier(2, timeout=20)
    elsewhere = _core.make_stream(DEVICE)
    found = {}

    def first():
        source = Prepared(held[0], elsewhere)
        barrier.wait()
        barrier.wait()
        found["first"] = pf.from_dlpack(source) + 1

    def second():
        barrier.wait()
        found["second"] = held.pop() + 2
        barrier.wait()

    threads = [threading.Thread(target=function) for function in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = [pf.full((3,), 9.0, device=DEVICE) for _ in range(3)]  # in the memory of x
    pf.cuda.synchronize(DEVICE)
    assert found["first"].tolist() == [3.0, 3.0, 3.0]
    assert found["second"].tolist() == [4.0, 4.0, 4.0]
    assert len(again) == 3


@pytest.mark.parametrize("read", [lambda x: in_thread(lambda: x + 2), lambda x: x + 2])  # also the writer itself
def test_a_write_waits_for_each_of_two_threads_that_read_at_once(read):
    x, barrier, elsewhere = changed(), threading.Barrier(2, timeout=20), _core.make_stream(DEVICE)
    found = []

    def first():
        source = Prepared(x, elsewhere)
        barrier.wait()
        barrier.wait()
        found.append(pf.from_dlpack(source) + 1)

    thread = threading.Thread(target=first)
    thread.start()
    barrier.wait()
    read(x)
    barrier.wait()
    thread.join()
    _core.copy_(x, pf.full((3,), 7.0, device=DEVICE))
    pf.cuda.synchronize(DEVICE)
    assert found[0].tolist() == [3.0, 3.0, 3.0]


def test_pinned_memory_of_the_host_is_read_at_once():
    host = np.arange(3, dtype=np.float32)
    pin = cuda_device.library().pyformer_emulated_pin
    pin(ctypes.c_void_p(host.ctypes.data), ctypes.c_int64(host.nbytes))
    before = waits()
    x = pf.asarray(host).to(DEVICE)
    assert waits() == before
    host[:] = 7.0
    pin(None, ctypes.c_int64(0))
    assert x.tolist() == [0.0, 1.0, 2.0]


def test_a_stream_goes_on_where_the_thread_was():
    x = changed()
    with pf.cuda.stream(DEVICE):
        y = x + 1
        x = x * 2
    assert (x + y).tolist() == [7.0, 7.0, 7.0]


def ended(program, **settings):
    """What a process that has the device left: its exit code, output and errors."""
    folder = str(Path(cuda_device.library()._name).parent)
    environment = os.environ | {"PYFORMER_DEVICE_PATH": folder} | settings
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_a_program_ends_before_anybody_waits():
    """With ids that have not been checked yet."""
    program = (
        "import pyformer as pf\n"
        f"ids, weight = pf.tensor([1], device={DEVICE!r}), pf.ones(5, 4, device={DEVICE!r})\n"
        "pf.ops.embedding(ids, weight)"
    )
    assert ended(program) == (0, "", "")


@pytest.mark.parametrize(
    ("words", "wrong"), [("late,sideways", "sideways"), ("seed=", "seed="), ("seed=9x", "seed=9x")]
)
def test_settings_that_are_none_are_told_when_the_device_is_asked_for(words, wrong):
    code, out, error = ended(
        f"import pyformer as pf\ntry:\n    pf.device({DEVICE!r})\nexcept ValueError as error:\n    print(error)",
        PYFORMER_CUDA_EMULATED=words,
    )
    assert (code, error) == (0, "")
    assert f'PYFORMER_CUDA_EMULATED: "{wrong}" is no setting' in out


# ---- nothing waits for the host -----------------------------------------------------------------------------------


def test_a_step_waits_for_nothing():
    model, optimizer = gpt(DEVICE)
    ids = pf.tensor(np.random.default_rng(0).integers(0, 11, (3, 17)), device=DEVICE)
    before = waits()
    for _ in range(3):
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        pf.optim.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
    assert waits() == before
    assert loss.item() > 0
    assert waits() > before


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_step_of_the_trainer_waits_for_nothing(dtype):
    """It waits to log, after every fourth."""
    own = trainer(DEVICE, dtype, accumulate=2)
    before = waits()
    assert own.train()
    assert own.found == [0] * 12
    assert waits() > before


def test_the_trainer_logs_what_the_cpu_logs():
    _core.set_isa("ref")

    class Lines(pf.training.Callback):
        def __init__(self):
            self.lines = []

        def on_metrics(self, trainer, metrics):
            self.lines.append({k: v for k, v in metrics.items() if k != "tokens_per_second"})

    lines = [Lines(), Lines()]
    for device, callback in zip(("cpu", DEVICE), lines, strict=True):
        trainer(device, callbacks=[callback]).train()
    assert lines[0].lines == lines[1].lines
    assert len(lines[0].lines) == 4


def test_the_trainer_tells_at_the_next_line_that_a_loss_is_not_finite():
    own = trainer(DEVICE)
    _core.copy_(own.model.wte.weight.detach(), pf.full(tuple(own.model.wte.weight.shape), np.nan, device=DEVICE))
    with pytest.raises(FloatingPointError, match="the loss is nan at step 1"):
        own.train()
    assert own.step == 4
