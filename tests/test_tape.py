"""The tape: accumulation, errors, memory, gradients of one's own, recomputation."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

import pyformer as pf
from pyformer import _core


def live_arrays() -> int:
    gc.collect()
    return _core.memory_stats()["live_arrays"]


def test_a_tensor_used_twice_gets_both_gradients():
    x = pf.tensor([1.0, 2.0], requires_grad=True)
    (x * x + x).sum().backward()
    assert x.grad.numpy().tolist() == [3.0, 5.0]


def test_gradients_accumulate_until_cleared():
    x = pf.tensor([1.0, 2.0], requires_grad=True)
    for _ in range(3):
        (x * 2.0).sum().backward()
    assert x.grad.numpy().tolist() == [6.0, 6.0]
    x.grad = None
    assert x.grad is None


def test_gradients_do_not_share_memory():
    x, y = pf.tensor([1.0, 2.0], requires_grad=True), pf.tensor([3.0, 4.0], requires_grad=True)
    (x + y).backward(pf.tensor([1.0, 1.0]))
    with pf.no_grad():
        x.grad[0] = 9.0
    assert y.grad.numpy().tolist() == [1.0, 1.0]


def test_assigned_gradients_are_checked():
    x = pf.zeros(3, requires_grad=True)
    x.grad = pf.ones(3)
    with pytest.raises(ValueError, match="shape"):
        x.grad = pf.ones(4)
    with pytest.raises(TypeError, match="float32"):
        x.grad = pf.ones(3, dtype=pf.float64)
    with pytest.raises(TypeError, match=r"^grad: expected a Tensor or None, got"):
        x.grad = [1.0, 2.0, 3.0]
    with pytest.raises(TypeError, match=r"^requires_grad: expected a bool, got"):
        x.requires_grad = "yes"


def test_errors_of_backward():
    x = pf.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(ValueError, match="gradient must be given"):
        (x * x).backward()
    with pytest.raises(ValueError, match="shape"):
        (x * x).backward(pf.ones(3))
    with pytest.raises(TypeError, match="float64"):
        (x * x).backward(pf.ones(2, dtype=pf.float64))
    with pytest.raises(RuntimeError, match="requires grad"):
        pf.zeros(1).backward()
    with pytest.raises(TypeError, match="float"):
        pf.tensor([1, 2], requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf"):
        (x * x).requires_grad = False


def test_second_backward_raises():
    x = pf.tensor([1.0], requires_grad=True)
    y = x * x
    y.sum().backward()
    with pytest.raises(RuntimeError, match="already used"):
        y.sum().backward()


def test_change_in_place_is_noticed():
    x = pf.tensor([1.0, 2.0], requires_grad=True)
    w = pf.tensor([3.0, 4.0])
    y = (x * w).sum()
    w[0] = 0.0
    with pytest.raises(RuntimeError, match=r"multiply.*changed in place"):
        y.backward()


def test_no_grad_records_nothing_and_is_per_thread():
    x = pf.tensor([1.0], requires_grad=True)
    seen = []
    with pf.no_grad():
        assert not (x * x).requires_grad
        thread = threading.Thread(target=lambda: seen.append((x * x).requires_grad))
        thread.start()
        thread.join()
        with pf.enable_grad():
            assert (x * x).requires_grad
    assert seen == [True]
    assert (x * x).requires_grad


def test_detach_shares_memory_without_history():
    x = pf.tensor([1.0, 2.0], requires_grad=True)
    d = (x * 2.0).detach()
    assert not d.requires_grad
    assert x.detach().numpy().base is not None


def test_graphs_are_freed():
    base = live_arrays()
    x = pf.randn(8, 8, requires_grad=True)
    for _ in range(20):
        y = (x * x).sum()
        y.backward()
        x.grad = None
    z = x * x  # never used
    del x, y, z
    assert live_arrays() == base


def test_long_chains_do_not_recurse():
    x = pf.tensor([1.0], requires_grad=True)
    y = x
    for _ in range(50_000):
        y = y + 1.0
    y.backward()
    assert x.grad.item() == 1.0
    y = x
    for _ in range(50_000):
        y = y + 1.0
    del y


def test_unused_output_of_split_gets_zeros():
    x = pf.tensor([1.0, 2.0, 3.0], requires_grad=True)
    first, _ = pf.ops.split(x, [1, 2])
    first.sum().backward()
    assert x.grad.numpy().tolist() == [1.0, 0.0, 0.0]


class Cube(pf.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x)
        ctx.scale = scale
        return x * x * x * scale

    @staticmethod
    def backward(ctx, dout):
        (x,) = ctx.saved_tensors
        return dout * x * x * (3.0 * ctx.scale), None


def test_function_of_ones_own():
    x = pf.tensor([1.0, 2.0], dtype=pf.float64, requires_grad=True)
    (Cube.apply(x, 2.0) + x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [7.0, 25.0])


def test_function_notices_that_what_it_saved_has_changed():
    x = pf.tensor([1.0, 2.0], requires_grad=True)
    y = Cube.apply(x, 1.0).sum()
    with pf.no_grad():
        x[0] = 5.0
    with pytest.raises(RuntimeError, match="saved_tensors: tensor 0 was changed in place"):
        y.backward()


def test_checkpoint_notices_that_its_input_has_changed():
    x = pf.tensor([1.0, 2.0], requires_grad=True)
    y = pf.checkpoint(lambda a: a * a, x).sum()
    with pf.no_grad():
        x[0] = 5.0
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


def test_function_that_is_wrong_says_so():
    class Wrong(pf.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1.0

        @staticmethod
        def backward(ctx, dout):
            return pf.zeros(7)

    class Raises(Wrong):
        @staticmethod
        def backward(ctx, dout):
            raise KeyError("mine")

    x = pf.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(ValueError, match="Wrong"):
        Wrong.apply(x).sum().backward()
    with pytest.raises(KeyError, match="mine"):
        Raises.apply(x).sum().backward()


def test_checkpoint_gives_the_same_bits_with_dropout():
    w = pf.randn(16, 16, requires_grad=True)
    x = pf.randn(4, 16, requires_grad=True)

    def block(h):
        return pf.ops.dropout(pf.ops.gelu(h @ w), 0.5) * 2.0

    results = []
    for run in (block, lambda h: pf.checkpoint(block, h)):
        pf.manual_seed(5)
        w.grad = x.grad = None
        out = run(x * 1.0)
        out.backward(pf.ones(4, 16))
        results.append([t.numpy().tobytes() for t in (out, w.grad, x.grad)])
    assert results[0] == results[1]


def test_checkpoint_replays_its_masks_whatever_other_threads_draw():
    in_the_forward_pass = []

    def block(h):
        h = pf.ops.dropout(h, 0.5)
        if in_the_forward_pass:
            thread = threading.Thread(target=in_the_forward_pass.pop())
            thread.start()
            thread.join()
        return pf.ops.dropout(h, 0.5)

    for other in (lambda: pf.manual_seed(9), lambda: pf.rand(5)):
        in_the_forward_pass.append(other)
        x = pf.ones(256, requires_grad=True)
        out = pf.checkpoint(block, x)
        before = _core.rng_state()
        out.sum().backward()
        assert _core.rng_state() == before
        assert x.grad.numpy().tobytes() == out.numpy().tobytes()


def test_checkpoints_in_threads_replay_their_own_masks():
    wrong = []

    def work():
        for _ in range(100):
            x = pf.ones(64, requires_grad=True)
            out = pf.checkpoint(lambda h: pf.ops.dropout(pf.ops.dropout(h, 0.3), 0.3), x)
            out.sum().backward()
            wrong.append(x.grad.numpy().tobytes() != out.numpy().tobytes())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(wrong) == 400
    assert not any(wrong)


def test_nested_checkpoints_draw_as_without():
    def inner(h):
        return pf.ops.dropout(h, 0.5) * 2.0

    def outer(run):
        return lambda h: pf.ops.dropout(run(inner, pf.ops.dropout(h, 0.2)), 0.2)

    results = []
    for run in (lambda f, h: f(h), pf.checkpoint):
        pf.manual_seed(5)
        x = pf.randn(200, requires_grad=True)
        out = run(outer(run), x * 1.0)
        out.sum().backward()
        results.append((out.numpy().tobytes(), x.grad.numpy().tobytes(), _core.rng_state()))
    assert results[0] == results[1]


@pytest.mark.parametrize(("rates", "message"), [([0.5, 0.0], "draws more often"), ([0.0, 0.5], "draws less often")])
def test_checkpoint_that_draws_otherwise_in_backward_is_refused(rates, message):
    rates = [*rates]

    def block(h):
        return pf.ops.dropout(pf.ops.dropout(h, rates.pop()), 0.5)

    out = pf.checkpoint(block, pf.ones(4, requires_grad=True))
    with pytest.raises(RuntimeError, match=message):
        out.sum().backward()


def test_two_threads_into_one_leaf():
    x = pf.ones(1000, requires_grad=True)

    def work():
        for _ in range(50):
            (x * 1.0).sum().backward()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert (x.grad.numpy() == 200).all()


def test_a_users_buffer_is_never_written_as_a_gradient():
    buffer = np.ones(3, np.float32)

    class Share(pf.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1.0

        @staticmethod
        def backward(ctx, dout):
            return pf.asarray(buffer)

    x = pf.zeros(3, requires_grad=True)
    for _ in range(3):
        Share.apply(x).sum().backward()
    assert buffer.tolist() == [1.0, 1.0, 1.0]
    assert x.grad.numpy().tolist() == [3.0, 3.0, 3.0]


def test_gradients_of_storage_only_dtypes_are_float32():
    p = pf.ones(2, dtype=pf.bfloat16, requires_grad=True)
    (p.to(pf.float32) * 2.0).sum().backward()
    p.backward(pf.ones(2))
    p.backward(pf.ones(2, dtype=pf.bfloat16))  # of its own dtype, or of its gradient's
    assert p.grad.dtype == pf.float32
    assert p.grad.numpy().tolist() == [4.0, 4.0]
    with pytest.raises(TypeError, match="expected a gradient of bfloat16, got float64"):
        p.backward(pf.ones(2, dtype=pf.float64))


def test_reading_gradients_while_another_thread_adds_to_them():
    x = pf.ones(2**22, requires_grad=True)
    thread = threading.Thread(target=lambda: [(x * 1.0).sum().backward() for _ in range(60)])
    thread.start()
    while thread.is_alive():
        _ = x.grad
    thread.join()
    assert x.grad is not None


def test_gradients_through_a_checkpoint_touch_no_grad():
    layer, other = pf.nn.Linear(3, 3), pf.nn.Linear(3, 3)
    x = pf.randn(2, 3, requires_grad=True)
    y = x * 2.0  # a result, which the function uses beside its argument

    def block(h):
        return layer(layer(h, activation="gelu") * y) + y

    found = []

    def nested(fn, h):
        return pf.checkpoint(lambda g: pf.checkpoint(fn, g), h)

    for run in (lambda fn, h: fn(h), pf.checkpoint, nested):
        h = other(x)
        out = (run(block, h) * h).sum()
        wanted = [x, layer.weight, layer.bias, other.weight, h, y]
        found.append([g.numpy().tobytes() for g in pf.autograd.grad(out, wanted, retain_graph=True)])
        again = pf.autograd.grad(out, wanted, retain_graph=True)
        assert [g.numpy().tobytes() for g in again] == found[-1]
        assert all(p.grad is None for p in (x, *layer.parameters(), *other.parameters()))
    assert found[0] == found[1] == found[2]


def test_a_checkpoint_that_leads_to_nothing_wanted_stays():
    first, second = pf.nn.Linear(3, 3), pf.nn.Linear(3, 3)
    middle = pf.checkpoint(first, pf.ones(2, 3))
    out = pf.checkpoint(second, middle).sum()
    (gradient,) = pf.autograd.grad(out, [middle])
    np.testing.assert_allclose(gradient.numpy(), np.tile(second.weight.detach().numpy().sum(0), (2, 1)), rtol=1e-5)
    assert pf.autograd.grad(middle.sum(), [first.bias])[0].numpy().tolist() == [2.0] * 3
    with pytest.raises(RuntimeError, match="already used by an earlier backward"):
        pf.autograd.grad(middle.sum(), [first.bias])
    unrelated = pf.ones(1, requires_grad=True)
    with pytest.raises(RuntimeError, match="no output depends on input 0"):
        pf.autograd.grad(pf.checkpoint(first, pf.ones(2, 3)).sum(), [unrelated])


def test_a_result_that_a_checkpoint_uses_is_used_once_more_outside():
    x = pf.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2.0
    (pf.checkpoint(lambda a: a * y, x) + y).sum().backward()
    assert x.grad.numpy().tolist() == [6.0, 10.0]


def test_checkpoint_of_a_function_that_gives_something_else():
    with pytest.raises(TypeError, match="checkpoint: the function must return a Tensor or a tuple of them, got str"):
        pf.checkpoint(lambda a: "text", pf.ones(2))
    shapes = [(2, 1), (1, 2)]
    x = pf.ones(2, requires_grad=True)
    out = pf.checkpoint(lambda a: a.reshape(shapes.pop()), x).sum()
    with pytest.raises(ValueError, match=r"checkpoint: result 0 had shape \(1, 2\), and then \(2, 1\)"):
        out.backward()


def test_many_checkpoints_do_not_recurse():
    h = x = pf.tensor([1.0], requires_grad=True)
    for _ in range(5_000):
        h = pf.checkpoint(lambda a: a + 1.0, h)
    assert pf.autograd.grad(h, [x], retain_graph=True)[0].item() == 1.0
    h.backward()
    assert x.grad.item() == 1.0
    h = x
    for _ in range(20_000):
        h = pf.checkpoint(lambda a: a + 1.0, h)
    del h


def test_gradients_of_several_outputs_are_given_one_each():
    x = pf.tensor([1.0, 2.0], requires_grad=True)
    y, z = x * 2.0, x * x
    ones = pf.ones(2)
    assert pf.autograd.grad([y, z], x, [ones, ones * 10.0])[0].numpy().tolist() == [22.0, 42.0]
    y, z = (x * 2.0).sum(), x * x
    assert pf.autograd.grad([y, z], x, [None, ones], retain_graph=True)[0].numpy().tolist() == [4.0, 6.0]
    for wrong in (ones, [ones], [ones, ones, ones]):
        with pytest.raises(ValueError, match="grad_outputs must be 2, one an output, got"):
            pf.autograd.grad([y, z], x, wrong)
    with pytest.raises(TypeError, match="grad_outputs must be Tensors or None, got int"):
        pf.autograd.grad(y, x, 3)
