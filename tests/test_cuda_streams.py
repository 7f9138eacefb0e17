"""Streams, exchange with other libraries, graphs, and who waits for whom, on the emulated device: what is queued there
runs only when somebody waits for it, so that a wait that is missing is seen, and one too many is counted."""

from __future__ import annotations

import ctypes
import gc
import threading

import cuda_device
import numpy as np
import pytest
from test_cuda import gpt, state
from test_grad_scaler import overflowing
from tolerance import same_bits

import pyformer as pf
from pyformer import _core, nn

DEVICE = "cuda:emulated"


@pytest.fixture(autouse=True, scope="module")
def _device():
    cuda_device.library()
    cuda_device.schedule("drawn,late,seed=7")
    yield
    cuda_device.schedule("lowest,early")


def waits():
    """How often this thread has waited for the device."""
    count = cuda_device.library().pyformer_emulated_waits
    count.restype = ctypes.c_int64
    return count()


def in_thread(function, *args):
    """What a function returns in a thread of its own, which has a stream of its own."""
    found = []
    thread = threading.Thread(target=lambda: found.append(function(*args)))
    thread.start()
    thread.join()
    return found[0]


def changed():
    """A tensor of zeros that has become twos, if somebody waits for it."""
    x = pf.zeros(3, device=DEVICE)
    twos = pf.full((3,), 2.0, device=DEVICE)
    pf.cuda.synchronize(DEVICE)
    _core.copy_(x, twos)
    return x


# ---- streams ------------------------------------------------------------------------------------------------------


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


# ---- DLPack -------------------------------------------------------------------------------------------------------


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


class Prepared:
    """What this thread exported for a consumer's stream."""

    def __init__(self, tensor, stream):
        self.place, self.capsule = tensor.__dlpack_device__(), tensor.__dlpack__(stream=stream)

    def __dlpack_device__(self):
        return self.place

    def __dlpack__(self, **_):
        return self.capsule


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


# ---- graphs -------------------------------------------------------------------------------------------------------


def steps(count, dtype, graphed):
    """Losses, weights and gradient norms of a GPT with dropout whose learning rate changes, step by step."""
    model, optimizer = gpt(DEVICE, dtype)

    def step(ids, targets):
        optimizer.zero_grad()
        loss = model.loss(ids, targets)
        loss.backward()
        norm = pf.optim.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        return loss.detach(), norm

    rng, found = np.random.default_rng(0), []
    for i in range(count + 1):
        ids = rng.integers(0, 11, (3, 17))
        optimizer.scale_lr(1.0 / (1 + i))
        if i == 1 and graphed:
            step = pf.cuda.Graph(step, ids[:, :-1], ids[:, 1:], device=DEVICE)
        pair = [pf.tensor(part, device=DEVICE) for part in (ids[:, :-1], ids[:, 1:])]
        found.append([x.item() for x in step(*pair)])
    return found, state(model), optimizer.state_dict()["state"][0]["step"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_training_step_replayed_has_the_bits_of_one_called(dtype):
    (losses, expected, count), (replayed, found, counted) = (steps(10, dtype, graphed) for graphed in (False, True))
    assert losses == replayed
    assert len({loss for loss, _ in losses}) == 11
    assert all(same_bits(found[key], value) for key, value in expected.items())
    assert count == counted == 11


def test_a_decoding_step_replayed_has_the_bits_of_one_called():
    pf.manual_seed(3)
    model = pf.models.GPT(pf.models.GPTConfig(11, 40, 2, 2, 16)).to(DEVICE).eval()
    prompt = [[1, 2, 3]]
    expected = model.generate(prompt, 33, temperature=0).tolist()
    cache = model.new_cache(1, 40)

    def step(ids, lengths):
        cache.ends = lengths
        logits = model(ids, cache=cache)[:, -1]
        return pf.ops.argmax(logits, axis=-1).reshape(1, 1), cache.ends

    with nn.inference():
        ids = pf.ops.argmax(model(prompt, cache=cache)[:, -1], axis=-1).reshape(1, 1)
        lengths, texts, before = cache.ends, [ids], waits()
        step = pf.cuda.Graph(step, ids, lengths, device=DEVICE)
        for _ in range(32):
            ids, lengths = step(ids, lengths)
            texts.append(ids + 0)
        assert waits() == before
    assert [*prompt[0], *pf.ops.concat(texts, axis=1).tolist()[0]] == expected[0]


def test_random_numbers_of_a_replay_are_those_of_a_call():
    def draw(x):
        noise = pf.randn(3, device=DEVICE)
        return pf.checkpoint(lambda x: pf.ops.dropout(x, 0.5), x) + noise, pf.rand(3, device=DEVICE)

    x = pf.ones(3, device=DEVICE)
    graph = pf.cuda.Graph(draw, x, device=DEVICE)
    found = []
    for function in (draw, graph):
        pf.manual_seed(5)
        found.append([[t.tolist() for t in function(x)] for _ in range(3)])
    assert found[0] == found[1]


def test_checkpointed_dropout_is_recomputed_in_a_replay():
    w = pf.ones(64, device=DEVICE, requires_grad=True)

    def step():
        w.grad = None
        y = pf.checkpoint(lambda w: pf.ops.dropout(w, 0.5), w)
        y.sum().backward()
        return y.detach(), w.grad

    step()
    y, grad = pf.cuda.Graph(step, device=DEVICE)()
    assert y.tolist() == grad.tolist()
    assert set(y.tolist()) == {0.0, 2.0}


def test_a_graph_of_sgd_sees_the_learning_rate():
    w = pf.zeros(2, device=DEVICE, requires_grad=True)
    optimizer = pf.optim.SGD([w], lr=1.0, momentum=0.5)

    def step():
        w.grad = pf.ones(2, device=DEVICE)
        optimizer.step()

    step()
    graph = pf.cuda.Graph(step, device=DEVICE)
    for lr in (0.5, 0.25):
        optimizer.param_groups[0]["lr"] = lr
        graph()
    assert w.detach().tolist() == [-1 - 0.5 * 1.5 - 0.25 * 1.75] * 2


def test_inputs_are_copied_and_checked():
    graph = pf.cuda.Graph(lambda x, y: x * 2 + y, pf.ones(2), np.ones(2, np.float32), device=DEVICE)
    x = pf.tensor([1.0, 2.0], device=DEVICE)
    assert graph(x, [10.0, 20.0]).tolist() == [12.0, 24.0]
    assert graph(x + 1, x).tolist() == [5.0, 8.0]
    with pytest.raises(TypeError, match="Graph: expected 2 inputs, got 1"):
        graph(x)
    with pytest.raises(ValueError, match="copy_"):
        graph(x, pf.ones(3))


def test_a_graph_is_replayed_by_another_thread():
    graph = pf.cuda.Graph(lambda x: x * 2, [1.0, 2.0], device=DEVICE)

    def replay():
        y = graph([3.0, 4.0])
        _core.copy_(graph._inputs, [pf.tensor([5.0, 6.0], device=DEVICE)])  # comes after the replay
        pf.cuda.synchronize(DEVICE)
        return y.tolist()

    assert in_thread(replay) == [6.0, 8.0]
    assert graph([7.0, 8.0]).tolist() == [14.0, 16.0]


def test_a_replay_comes_behind_other_threads_and_they_behind_it():
    w, seven = pf.zeros(3, device=DEVICE), pf.full((3,), 7.0, device=DEVICE)
    kept = []

    def function(x):
        kept.append(x * w)
        _core.copy_(w, w + 1)
        return x + w

    graph = pf.cuda.Graph(function, [1.0, 1.0, 1.0], device=DEVICE)
    pf.cuda.synchronize(DEVICE)
    in_thread(lambda: _core.copy_(w, seven))
    y = graph([1.0, 2.0, 3.0])  # sees what was written
    later = in_thread(lambda: (y + 0, w + 0))
    graph([5.0, 5.0, 5.0])  # overwrites y and w when they have been read
    last = in_thread(lambda: w + 0)
    assert later[0].tolist() == [9.0, 10.0, 11.0]
    assert later[1].tolist() == [8.0, 8.0, 8.0]
    assert last.tolist() == [9.0, 9.0, 9.0]
    assert y.tolist() == [14.0, 14.0, 14.0]
    assert kept[0].tolist() == [40.0, 40.0, 40.0]


def test_calls_of_two_threads_do_not_mix():
    w = pf.zeros(1, device=DEVICE, requires_grad=True)
    optimizer = pf.optim.SGD([w], lr=1.0)
    begun = threading.Event()

    class Rate:
        """A number that takes time, in which other threads run."""

        def __float__(self):
            if not begun.is_set():
                begun.set()
                other.join(0.3)
            return 1.0

    def step(x):
        w.grad = x
        optimizer.step()

    step(pf.zeros(1, device=DEVICE))
    graph = pf.cuda.Graph(step, [0.0], device=DEVICE)
    other = threading.Thread(target=lambda: (begun.wait(20), graph([10.0])))
    other.start()
    optimizer.param_groups[0]["lr"] = Rate()
    graph([1.0])
    other.join()
    assert w.detach().tolist() == [-11.0]


LOOKS = [lambda x: x.item(), lambda x: x.to("cpu"), repr, lambda x: pf.cuda.synchronize(DEVICE)]


@pytest.mark.parametrize("look", LOOKS, ids=["item", "to", "repr", "synchronize"])
def test_a_recording_waits_for_nothing(look):
    x = changed()
    with pytest.raises(RuntimeError, match="nothing may be waited for while a graph is recorded"):
        pf.cuda.Graph(lambda x: look(x.sum()), x, device=DEVICE)
    assert (x + 1).tolist() == [3.0, 3.0, 3.0]  # and all goes on


def test_what_can_not_be_recorded_says_so():
    x = changed()
    inner = pf.cuda.Graph(lambda x: x + 1, x, device=DEVICE)
    w = pf.ones(3, device=DEVICE, requires_grad=True)
    first, plain = pf.optim.AdamW([w]), pf.optim.RMSprop([w])

    def step(optimizer):
        w.grad = x
        optimizer.step()

    def stream():
        with pf.cuda.stream(DEVICE):
            pass

    step(plain)
    for function, words in (
        (lambda: inner(x), "no part of another"),
        (lambda: pf.cuda.Graph(lambda: x, device=DEVICE), "recording already"),
        (lambda: step(first), "AdamW: a first step makes the state"),
        (lambda: step(plain), "RMSprop: its step can't be recorded"),
        (stream, "recorded on one stream"),
    ):
        with pytest.raises(RuntimeError, match=words):
            pf.cuda.Graph(function, device=DEVICE)
    assert inner(x).tolist() == [3.0, 3.0, 3.0]
    with pytest.raises(RuntimeError, match="records no graphs"):
        _core.GraphRecording("cpu")


def test_a_replay_tells_ids_out_of_range():
    weight = pf.ones(3, 2, device=DEVICE)
    graph = pf.cuda.Graph(lambda ids: pf.ops.embedding(ids, weight), [0, 1], device=DEVICE)
    assert graph([2, 0]).tolist() == [[1.0, 1.0], [1.0, 1.0]]
    graph([0, 7])
    with pytest.raises(IndexError, match=r"ids must be within \[0, 3\), got 7 at position 1"):
        pf.cuda.synchronize(DEVICE)
    assert graph([2, 0]).tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_a_graph_keeps_its_memory_and_gives_it_back():
    gc.collect()
    pf.cuda.synchronize(DEVICE)
    pf.cuda.empty_cache(DEVICE)
    before = pf.cuda.memory_stats(DEVICE)
    x = pf.ones(1000, device=DEVICE)
    given = [pf.full((1000,), 3.0, device=DEVICE)]

    def function(x):
        y = x * 2
        return y + given.pop()  # which dies here, and is read at each replay

    graph = pf.cuda.Graph(function, x, device=DEVICE)
    pf.cuda.empty_cache(DEVICE)  # takes nothing of it
    others = [pf.full((1000,), 8.0, device=DEVICE) for _ in range(8)]
    for _ in range(2):
        assert set(graph(x).tolist()) == {5.0}
    assert all(set(other.tolist()) == {8.0} for other in others)
    del graph, function, others, x
    gc.collect()
    pf.cuda.empty_cache(DEVICE)
    after = pf.cuda.memory_stats(DEVICE)
    assert (after["in_use_bytes"], after["cached_bytes"]) == (before["in_use_bytes"], 0)


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


class Counting(pf.training.Trainer):
    def _train_step(self):
        before = waits()
        loss = super()._train_step()
        self.found = [*getattr(self, "found", []), waits() - before]
        return loss


def trainer(device, dtype="float32", callbacks=(), **options):
    pf.manual_seed(1)
    model = pf.models.GPT(pf.models.GPTConfig(11, 8, 1, 2, 16, dropout=0.1)).to(device)
    tokens = np.random.default_rng(0).integers(0, 11, 200)
    chosen = {"steps": 12, "batch": 2, "warmup": 2, "lr": 1e-2, "log_every": 4, "dtype": dtype, **options}
    return Counting(model, tokens[:150], tokens[150:], pf.training.TrainingOptions(**chosen), callbacks=callbacks)


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


# ---- float16 ------------------------------------------------------------------------------------------------------


def scaled_steps(device, optimizer_of, clip=None):
    """Two parameters, of which gradients overflow now and then."""
    w = pf.tensor([1.0, -2.0], device=device, requires_grad=True)
    optimizer, scaler = optimizer_of([w]), pf.optim.GradScaler(init_scale=16.0, growth_interval=3)
    before, scales = None, []
    for i in range(10):
        if i == 1:
            before = waits()
        factor = pf.tensor(np.inf if i in (2, 3, 8) else 1.0, device=device, dtype=pf.float32)
        optimizer.zero_grad()
        scaler.scale((w.square() * factor).sum()).backward()
        if clip:
            scaler.unscale_(optimizer)
            pf.optim.clip_grad_norm_([w], clip)
        scaler.step(optimizer)
        scaler.update()
        scales.append(scaler._scale + 0)
    assert device == "cpu" or waits() == before or optimizer_of is pf.optim.RMSprop
    return [s.item() for s in scales], w.detach().to("cpu").numpy(), optimizer.state_dict()["state"][0]["step"]


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("name", ["AdamW", "SGD", "RMSprop"])
def test_loss_scaling_on_a_device_is_that_on_the_cpu(name, clip):
    make = getattr(pf.optim, name)
    (scales, expected, count), (there, found, counted) = (
        scaled_steps(device, make, clip) for device in ("cpu", DEVICE)
    )
    assert scales == there
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert count == counted == 7


@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_a_step_that_was_left_out_is_one_of_those_who_counted_it(name):
    def run(device):
        w, v = (pf.tensor([x], device=device, requires_grad=True) for x in (1.0, 2.0))
        optimizer, scaler = getattr(pf.optim, name)([w, v], lr=0.1), pf.optim.GradScaler(init_scale=16.0)
        for i in range(8):
            optimizer.zero_grad()
            loss = w.square() * pf.tensor(np.inf if i in (2, 5) else 1.0, dtype=pf.float32, device=device)
            if i in (1, 3, 5):  # v has no gradient in the others
                loss = loss + v.square()
            if i == 6:
                loss.sum().backward()
                optimizer.step()
                continue
            scaler.scale(loss.sum()).backward()
            scaler.step(optimizer)
            scaler.update()
        steps = [state["step"] for state in optimizer.state_dict()["state"].values()]
        return [w.detach().item(), v.detach().item()], steps

    (expected, counts), (found, counted) = run("cpu"), run(DEVICE)
    assert counts == counted == [6, 2]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_scaled_step_in_a_graph():
    def run(graphed):
        w = pf.tensor([1.0, -2.0], device=DEVICE, requires_grad=True)
        optimizer, scaler = pf.optim.AdamW([w], lr=0.1), pf.optim.GradScaler(init_scale=16.0, growth_interval=3)

        def step(factor):
            optimizer.zero_grad()
            scaler.scale((w.square() * factor).sum()).backward()
            scaler.step(optimizer)
            scaler.update()

        step(pf.tensor(1.0, device=DEVICE))
        if graphed:
            step = pf.cuda.Graph(step, pf.tensor(1.0), device=DEVICE)
        counts = []
        for i in range(8):
            step(pf.tensor(np.inf if i in (2, 3, 5) else 1.0, dtype=pf.float32, device=DEVICE))
            if i % 2:
                counts.append(optimizer.state_dict()["state"][0]["step"])
        assert counts == [3, 3, 4, 6]
        return w.detach().tolist(), scaler.state_dict()

    assert run(True) == run(False)


@pytest.mark.parametrize("device", ["cpu", DEVICE])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_small_gradients_of_linear_cross_entropy_survive_in_float16(reduction, device):
    """Of classes whose probability is 6e-9, which float16 does not hold."""
    bias, targets = [0.0, 0.5, -18.0, -18.0], [0, 1, -100]

    def gradients(dtype, scale):
        x, w, b = (
            pf.tensor(pf.tensor(a).to(dtype), device=device, requires_grad=True)
            for a in ([[1.0, 0.0]] * 3, [[0.0, 0.0], [0.0, 0.0], [0.0, 64.0], [0.0, 32.0]], bias)
        )
        loss = pf.ops.linear_cross_entropy(x, w, pf.tensor(targets, device=device), b, reduction=reduction)
        loss.backward(pf.full((), scale, dtype=dtype, device=device))
        return [t.grad.to("cpu").to(pf.float64).numpy() / scale for t in (x, w, b)]

    for got, expected in zip(gradients("float16", 32768.0), gradients("float32", 1.0), strict=True):
        np.testing.assert_allclose(got, expected, rtol=2e-3)


def test_gradients_that_are_never_finite_are_told_at_the_next_line():
    own = overflowing(trainer(DEVICE, "float16", steps=40, log_every=8))
    with pytest.raises(FloatingPointError, match="gradients of 24 steps in a row are not finite at step 24"):
        own.train()


def test_float16_trains_on_a_device():
    losses = []
    for device in ("cpu", DEVICE):
        own = trainer(device, "float16", steps=6)
        own.train()
        assert all(p.dtype == pf.float16 for p in own.model.parameters())
        losses.append(own.validation_loss)
    assert losses[0] == pytest.approx(losses[1], rel=5e-3)
