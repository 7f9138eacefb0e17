"""Manners inside a host process: threads, forks, signals, float modes, memory, import."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

import pyformer as pf
from pyformer import _core


def python(code: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=600, **options
    )


def tiny_model():
    pf.manual_seed(1)
    config = pf.models.GPTConfig(vocab_size=33, context_length=64, num_layers=2, num_heads=2, embed_dim=32)
    return pf.models.GPT(config)


def test_eight_threads_call_one_model():
    model = tiny_model().eval()
    prompts = np.random.default_rng(0).integers(0, 33, (8, 9))
    alone = [model.generate(prompts[i : i + 1], 20, seed=i).numpy().tolist() for i in range(8)]
    together: list = [None] * 8

    def work(i):
        for _ in range(3):
            together[i] = model.generate(prompts[i : i + 1], 20, seed=i).numpy().tolist()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert together == alone


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_fork_after_use():
    a = pf.randn(300, 300)
    expected = (a @ a).numpy().tobytes()
    child = os.fork()
    if child == 0:
        ok = (a @ a).numpy().tobytes() == expected
        os._exit(0 if ok else 1)
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the forked child hangs")


def test_interrupt_in_the_middle_of_a_long_op():
    """Ctrl-C after a quarter of a product's work, by the process's own clock, ends it before three quarters."""
    done = python("""
        import os, signal, time, numpy as np, pyformer as pf
        a = pf.asarray(np.ones((4000, 4000), np.float32))

        def product():
            start = time.process_time()
            try:
                a @ a
            except KeyboardInterrupt:
                print("interrupted", end=" ")
            return time.process_time() - start

        whole = min(product(), product())
        signal.signal(signal.SIGPROF, lambda *_: os.kill(os.getpid(), signal.SIGINT))
        signal.setitimer(signal.ITIMER_PROF, whole / 4)
        part = product()
        print((a[:2] @ a)[0, 0].item(), part / whole)
    """)
    assert done.returncode == 0, done.stderr
    word, element, part = done.stdout.split()
    assert (word, element) == ("interrupted", "4000.0")
    assert float(part) < 0.75


def test_interrupt_from_another_process():
    script = """
        import numpy as np, pyformer as pf
        a = pf.asarray(np.ones((2000, 2000), np.float32))
        try:
            a @ a
            print("ready", flush=True)
            while True:
                a @ a
        except KeyboardInterrupt:
            print("interrupted", (a[:2] @ a)[0, 0].item(), flush=True)
    """
    p = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert p.stdout.readline() == "ready\n"
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=600)
    finally:
        p.kill()
    assert out == "interrupted 2000.0\n", err


def test_import_changes_nothing_in_the_host():
    result = python("""
        import os, signal, threading, decimal
        before = {s: signal.getsignal(s) for s in signal.valid_signals()}
        env, threads = dict(os.environ), threading.active_count()
        tasks = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0
        import numpy
        tasks = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0
        import pyformer, sys
        assert {s: signal.getsignal(s) for s in signal.valid_signals()} == before
        assert dict(os.environ) == env and threading.active_count() == threads
        if tasks:
            assert len(os.listdir("/proc/self/task")) == tasks
        assert not {"torch", "tokenizers", "matplotlib", "tqdm", "transformers"} & set(sys.modules)
        import numpy as np
        assert np.float32(1e-40) * np.float32(1) != 0, "denormals are flushed"
        a = pyformer.randn(400, 400)
        a @ a
        assert np.float32(1e-40) * np.float32(1) != 0, "denormals are flushed"
    """)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""


def test_import_gives_no_warning():
    done = subprocess.run([sys.executable, "-W", "error", "-c", "import pyformer, pyformer.cli"], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


def test_import_brings_little():
    """numpy, safetensors and what Python has itself; the rest is imported where it is used."""
    result = python("""
        import sys, numpy
        before = set(sys.modules)
        import pyformer
        print(*{name.split(".")[0] for name in set(sys.modules) - before if not name.startswith("__")})
    """)
    packages = set(result.stdout.split()) - sys.stdlib_module_names
    assert packages <= {"pyformer", "safetensors", "numpy"}, packages
    heavy = {"asyncio", "multiprocessing", "unittest", "http", "email", "xml", "sqlite3", "ssl", "tkinter"}
    assert not set(result.stdout.split()) & heavy


def test_rooms_of_models_are_imported_when_they_are_asked_for():
    result = python("""
        import sys
        import pyformer as pf
        rooms = ["pyformer.models", "pyformer.nn", "pyformer.optim", "pyformer.saving"]
        print([room in sys.modules for room in rooms])
        pf.models, pf.nn, pf.optim, pf.save, pf.from_pretrained
        print([room in sys.modules for room in rooms])
    """)
    assert result.stdout.split("\n")[:2] == [str([False] * 4), str([True] * 4)], result.stdout


def test_import_is_quick_beside_that_of_numpy():
    """By the process's own clock: other work on the machine slows both."""
    ratio = min(
        float(
            python("""
                import time
                start = time.process_time()
                import numpy
                middle = time.process_time()
                import pyformer
                print((time.process_time() - middle) / (middle - start))
            """).stdout
        )
        for _ in range(5)
    )
    assert ratio < 1.5, ratio


def test_thousand_training_steps_hold_memory_flat():
    model = tiny_model()
    optimizer = pf.optim.AdamW(model.parameters(), lr=1e-3)
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 33, (2, 17))

    def step():
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        pf.optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    for _ in range(20):
        step()
    gc.collect()
    before = _core.memory_stats()
    for _ in range(1000):
        step()
    gc.collect()
    after = _core.memory_stats()
    assert after["live_arrays"] == before["live_arrays"]
    assert after["live_bytes"] == before["live_bytes"]
    assert after["system_calls"] == before["system_calls"], "a step asked the system for memory"


def test_live_arrays_return_to_base():
    gc.collect()
    base = _core.memory_stats()["live_arrays"]
    model = tiny_model()
    model.loss(np.zeros((1, 4), int), np.zeros((1, 4), int)).backward()
    model.generate(np.zeros((2, 3), int), 5)
    del model
    gc.collect()
    assert _core.memory_stats()["live_arrays"] == base


@pytest.mark.parametrize(
    "work",
    [
        "a @ a",
        "a[1:] + pf.asarray(np.ones(400, np.float32))",
        "pf.full((400, 400), 2.0)",
        "pf.tensor(np.ones((400, 400), np.float16), dtype=pf.float64)",
        "a[np.arange(100)[::-1]]",
        "repr(a)",
        "a[:, ::2] = np.ones((400, 200), np.float32)",
    ],
)
def test_exit_while_daemon_threads_are_inside_an_op(work):
    script = f"""
        import threading, time
        import numpy as np, pyformer as pf
        a, rounds = pf.ones(400, 400), [0] * 4
        def loop(i):
            while True:
                {work}
                rounds[i] += 1
        for i in range(4):
            threading.Thread(target=loop, args=(i,), daemon=True).start()
        while min(rounds) < 1:
            time.sleep(0.001)
    """
    for _ in range(3):
        result = python(script)
        assert result.returncode == 0, result.stderr
        assert "terminate" not in result.stderr


@pytest.mark.parametrize("call", ["Slow.apply(x)", "pf.checkpoint(lambda h: h * work(), x)"])
def test_exit_while_daemon_threads_are_inside_a_python_backward(call):
    script = f"""
        import threading, time
        import pyformer as pf

        def work():
            return float(sum(range(3000))) * 0.0

        class Slow(pf.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x * 1.0
            @staticmethod
            def backward(ctx, dout):
                work()
                return dout * 2.0

        rounds = [0] * 4
        def loop(i):
            x = pf.ones(10, requires_grad=True)
            while True:
                {call}.sum().backward()
                rounds[i] += 1
        for i in range(4):
            threading.Thread(target=loop, args=(i,), daemon=True).start()
        while min(rounds) < 1:
            time.sleep(0.001)
    """
    for _ in range(4):
        result = python(script)
        assert result.returncode == 0, result.stderr
        assert result.stderr == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_reads_gradients_that_a_thread_was_adding_to():
    x = pf.ones(2**21, requires_grad=True)
    x.sum().backward()
    stop = threading.Event()

    def add():
        while not stop.is_set():
            (x * 1.0).sum().backward()

    thread = threading.Thread(target=add)
    thread.start()
    try:
        for _ in range(12):
            time.sleep(0.003)
            child = os.fork()
            if child == 0:
                os._exit(0 if x.grad is not None else 1)
            deadline = time.monotonic() + 600
            while (done := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
                time.sleep(0.001)
            if not done[0]:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            assert done[0], "the forked child hangs"
            assert os.waitstatus_to_exitcode(done[1]) == 0
    finally:
        stop.set()
        thread.join()


def test_settings_are_checked():
    for bad in (0, -1, 2000):
        with pytest.raises(ValueError, match="threads"):
            pf.set_num_threads(bad)
    with pytest.raises(ValueError, match="instruction set"):
        _core.set_isa("sse9")
    result = python("import pyformer", env={**os.environ, "PYFORMER_CPU_ISA": "mmx"})
    if result.returncode == 0:
        result = python("import pyformer as pf; pf.ones(3) + 1.0", env={**os.environ, "PYFORMER_CPU_ISA": "mmx"})
    assert "instruction set" in result.stderr
    result = python("import pyformer as pf; pf.get_num_threads()", env={**os.environ, "PYFORMER_NUM_THREADS": "x"})
    assert "PYFORMER_NUM_THREADS" in result.stderr
    env = {**os.environ, "PYFORMER_NUM_THREADS": "3"}
    assert python("import pyformer as pf; print(pf.get_num_threads())", env=env).stdout == "3\n"


def test_show_config_names_what_runs():
    text = pf.show_config()
    assert pf.__version__ in text
    assert _core.isa() in text
