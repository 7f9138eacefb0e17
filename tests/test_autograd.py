"""autograd.grad, retain_graph, and the ways to record or not."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

import pyformer as pf
from pyformer import autograd


def both(values):
    return pf.tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)


def test_grad_is_torchs_of_leaves_and_of_results():
    values = np.random.default_rng(0).standard_normal((3, 4))
    found = []
    for library, x in zip((pf, torch), both(values), strict=True):
        w = library.ones(4, 2, dtype=x.dtype, requires_grad=True)
        y = library.tanh(x @ w)
        z = (y * y).sum() + x.sum()
        found.append([g.numpy() for g in library.autograd.grad(z, [x, y, w])])
        assert x.grad is None
        assert w.grad is None
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13)


def test_grad_of_several_outputs_with_gradients_of_their_own():
    x = pf.tensor([1.0, 2.0], requires_grad=True)
    outputs, seeds = [x * 2.0, (x * x).sum()], [pf.tensor([1.0, 10.0]), None]
    assert autograd.grad(outputs, x, seeds)[0].tolist() == [4.0, 24.0]
    with pytest.raises(ValueError, match="grad_outputs must be 1, one an output, got 2"):
        autograd.grad([x.sum()], x, [None, None])


def test_an_input_that_is_an_output_or_asked_for_twice():
    x = pf.tensor([3.0], requires_grad=True)
    y = x * x
    first, second, third = autograd.grad(y, [y, x, x])
    assert (first.item(), second.item(), third.item()) == (1.0, 6.0, 6.0)
    second += 1  # each is memory of its own
    assert (first.item(), third.item()) == (1.0, 6.0)
    assert autograd.grad(x, x)[0].item() == 1.0


def test_what_lies_elsewhere_is_not_used_up():
    x, w = pf.tensor([2.0], requires_grad=True), pf.tensor([5.0], requires_grad=True)
    hidden = w * w
    out = hidden * x
    assert autograd.grad(out, x)[0].item() == 25.0
    assert autograd.grad(hidden, w)[0].item() == 10.0
    with pytest.raises(RuntimeError, match="already used"):
        autograd.grad(out, w)


def test_a_deep_graph_needs_no_recursion():
    x = pf.tensor([1.0], requires_grad=True)
    y = x
    for _ in range(50_000):
        y = y + 0.0
    assert autograd.grad(y, x)[0].item() == 1.0


def test_retain_graph():
    x = pf.tensor([3.0], requires_grad=True)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    assert autograd.grad(y, x, retain_graph=True)[0].item() == 6.0
    y.backward()
    assert x.grad.item() == 12.0
    with pytest.raises(RuntimeError, match="already used"):
        y.backward()
    with pytest.raises(RuntimeError, match="already used"):
        autograd.grad(y, x)


def test_errors_of_grad():
    x, w = pf.ones(2, requires_grad=True), pf.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="no output depends on input 1"):
        autograd.grad((x * x).sum(), [x, w])
    assert autograd.grad((x * x).sum(), [x, w], allow_unused=True)[1] is None
    with pytest.raises(RuntimeError, match="input 0 does not require"):
        autograd.grad((x * x).sum(), pf.ones(2))
    with pytest.raises(RuntimeError, match="requires grad"):
        autograd.grad(pf.ones(1), x)
    with pytest.raises(ValueError, match="create_graph"):
        autograd.grad((x * x).sum(), x, create_graph=True)
    with pytest.raises(ValueError, match="a gradient must be given"):
        autograd.grad(x * x, x)
    for wrong in (3, [x, 3]):
        with pytest.raises(TypeError, match="must be a Tensor"):
            autograd.grad(wrong, x)


def test_grad_through_a_function_and_a_checkpoint():
    class Double(autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2.0

        @staticmethod
        def backward(ctx, dout):
            return dout * 2.0

    x = pf.tensor([1.0], requires_grad=True)
    assert autograd.grad(Double.apply(x), x)[0].item() == 2.0
    layer = pf.nn.Linear(1, 1)
    assert autograd.grad(pf.checkpoint(layer, x), x)[0].item() == layer.weight.item()


def test_a_decorator_with_and_without_brackets():
    @pf.no_grad
    def bare(x):
        """What it does."""
        return x * 2.0

    @pf.no_grad()
    def called(x):
        return x * 2.0

    x = pf.ones(1, requires_grad=True)
    assert not bare(x).requires_grad
    assert not called(x).requires_grad
    assert (bare.__name__, bare.__doc__) == ("bare", "What it does.")
    assert pf.no_grad(pf.enable_grad(lambda: pf.is_grad_enabled()))()
    with pf.inference_mode():
        assert not pf.is_grad_enabled()
    with pytest.raises(TypeError, match="function"):
        pf.no_grad(3)


def test_set_grad_enabled_holds_at_once_and_in_its_thread_only():
    pf.set_grad_enabled(False)
    try:
        seen = []
        thread = threading.Thread(target=lambda: seen.append(pf.is_grad_enabled()))
        thread.start()
        thread.join()
        assert (pf.is_grad_enabled(), seen) == (False, [True])
        with pf.set_grad_enabled(True):
            assert pf.is_grad_enabled()
        assert not pf.is_grad_enabled()
    finally:
        pf.set_grad_enabled(True)
    with pytest.raises(TypeError, match="bool"):
        pf.set_grad_enabled(1)


@pytest.mark.parametrize("name", ["float32", "float64", "bfloat16", "float16"])
def test_finfo_is_torchs(name):
    ours, theirs = pf.finfo(name), torch.finfo(getattr(torch, name))
    for field in ("bits", "eps", "max", "min", "tiny", "smallest_normal", "dtype"):
        assert getattr(ours, field) == getattr(theirs, field), field
    assert pf.finfo(getattr(pf, name)).bits == ours.bits


@pytest.mark.parametrize("name", ["int64", "int32", "int8", "uint8"])
def test_iinfo_is_torchs(name):
    ours, theirs = pf.iinfo(name), torch.iinfo(getattr(torch, name))
    assert [getattr(ours, f) for f in ("bits", "max", "min", "dtype")] == [
        getattr(theirs, f) for f in ("bits", "max", "min", "dtype")
    ]


def test_errors_of_finfo():
    with pytest.raises(TypeError, match="floats, got int64"):
        pf.finfo(pf.int64)
    with pytest.raises(TypeError, match="integers, got float32"):
        pf.iinfo(pf.float32)


def test_the_random_state_comes_back(tmp_path):
    pf.manual_seed(3)
    pf.randn(5)
    pf.save({"random": pf.random.get_state()}, tmp_path / "state")
    first = pf.randn(5)
    pf.random.set_state(pf.load(tmp_path / "state")["random"])
    assert pf.randn(5).tolist() == first.tolist()
    for wrong in (3, (1,), (1, "2"), (True, 1)):
        with pytest.raises(TypeError, match="two ints"):
            pf.random.set_state(wrong)
    with pytest.raises(ValueError, match="64 bits"):
        pf.random.set_state((-1, 0))
