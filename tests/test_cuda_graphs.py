"""Steps that are recorded as graphs and replayed, on the emulated device."""

from __future__ import annotations

import gc
import threading

import cuda_device
import numpy as np
import pytest
from cuda_queued import DEVICE, changed, in_thread, waits
from test_cuda import gpt, state
from tolerance import same_bits

import pyformer as pf
from pyformer import _core, nn


@pytest.fixture(autouse=True, scope="module")
def _device():
    cuda_device.library()
    cuda_device.schedule("drawn,late,seed=7")
    yield
    cuda_device.schedule("lowest,early")


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
    with pytest.raises(ValueError, match=r"Graph: input 1 must be \(2,\), got \(3,\)"):
        graph(x, pf.ones(3))
    with pytest.raises(TypeError, match="Graph: input 0 must be float32, got int64"):
        graph([1, 2], x)


def test_a_graph_is_replayed_by_another_thread():
    graph = pf.cuda.Graph(lambda x: x * 2, [1.0, 2.0], device=DEVICE)

    def replay():
        y = graph([3.0, 4.0])
        _core.copy_(graph._inputs, [pf.tensor([5.0, 6.0], device=DEVICE)])  # comes after the replay
        pf.cuda.synchronize(DEVICE)
        return y.tolist()

    assert in_thread(replay) == [6.0, 8.0]
    assert graph([7.0, 8.0]).tolist() == [14.0, 16.0]


def test_a_replay_in_another_thread_is_waited_for():
    """It runs on the stream of the thread that recorded; who looks at its tensors waits for that without a replay."""
    graph = pf.cuda.Graph(pf.ops.softmax, [1.0, 2.0], device=DEVICE)

    def shuffles():
        before = cuda_device.counts()["shuffles"]
        graph([3.0, 4.0])
        pf.cuda.synchronize(DEVICE)
        return cuda_device.counts()["shuffles"] - before

    assert in_thread(shuffles) > 0


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
    assert pf.cuda.memory_stats(DEVICE)["cached_bytes"] > 0
    others = [pf.full((1000,), 8.0, device=DEVICE) for _ in range(8)]
    for _ in range(2):
        assert set(graph(x).tolist()) == {5.0}
    assert all(set(other.tolist()) == {8.0} for other in others)
    del graph, function, others, x
    gc.collect()
    pf.cuda.empty_cache(DEVICE)
    after = pf.cuda.memory_stats(DEVICE)
    assert (after["in_use_bytes"], after["cached_bytes"]) == (before["in_use_bytes"], 0)
