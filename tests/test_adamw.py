"""The fused optimiser steps: against torch, same bits everywhere, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tolerance import same_bits

import pyformer as pf
from pyformer import _core

SHAPES = [(7,), (3, 5), (16,), (), (0, 4), (17, 33), (40_000,)]
OPTIONS = {"lr": 0.01, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1}


def _arrays(dtype, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(shape) * scale, dtype) for shape in SHAPES]


def _zeros(dtype):
    return [pf.zeros(shape, dtype=getattr(pf, dtype)) for shape in SHAPES]


def _steps(dtype, count, **options):
    params = [pf.tensor(a) for a in _arrays(dtype)]
    averages, squares = _zeros(dtype), _zeros(dtype)
    for step in range(1, count + 1):
        grads = [pf.tensor(a) for a in _arrays(dtype, step, 0.3)]
        _core.adamw_step_(params, grads, averages, squares, **{**OPTIONS, **options}, step=step)
    return [t.numpy().copy() for t in (*params, *averages, *squares)]


def _steps_of_bfloat16(count):
    """As `_steps`; before each step some of the parameters are written to, so that their masters are stale."""
    masters = [pf.tensor(a) for a in _arrays("float32")]
    params = [m.to("bfloat16") for m in masters]
    averages, squares = _zeros("float32"), _zeros("float32")
    for step in range(1, count + 1):
        for param in params[step % 2 :: 2]:
            _core.copy_(param, param * 1.25)
        grads = [pf.tensor(a) for a in _arrays("float32", step, 0.3)]
        _core.adamw_step_(params, grads, averages, squares, **OPTIONS, step=step, masters=masters)
    return [t.numpy().copy() for t in (*[p.to("float32") for p in params], *masters, *averages, *squares)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_ten_steps_against_torch(dtype, weight_decay):
    params = [torch.nn.Parameter(torch.tensor(a)) for a in _arrays(dtype)]
    optimizer = torch.optim.AdamW(params, lr=0.01, betas=(0.9, 0.95), eps=1e-8, weight_decay=weight_decay)
    for step in range(1, 11):
        for param, grad in zip(params, _arrays(dtype, step, 0.3), strict=True):
            param.grad = torch.tensor(grad)
        optimizer.step()
    tolerance = 100 * np.finfo(dtype).eps
    for got, param in zip(_steps(dtype, 10, weight_decay=weight_decay), params, strict=False):
        np.testing.assert_allclose(got, param.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_bits_do_not_depend_on_set_or_threads(dtype):
    steps = (lambda: _steps_of_bfloat16(3)) if dtype == "bfloat16" else lambda: _steps(dtype, 3)
    _core.set_isa("ref")
    expected = steps()
    for isa in _core.supported_isas():
        for threads in (1, 2, 4):
            _core.set_isa(isa)
            pf.set_num_threads(threads)
            assert all(same_bits(a, b) for a, b in zip(steps(), expected, strict=True))


def test_global_norm():
    tensors = [pf.tensor(a) for a in (*_arrays("float32"), *_arrays("float64", 1))]
    exact = math.sqrt(sum(float((t.numpy().astype("float64") ** 2).sum()) for t in tensors))
    norms = set()
    for isa in _core.supported_isas():
        for threads in (1, 2, 4):
            _core.set_isa(isa)
            pf.set_num_threads(threads)
            norms.add(_core.global_norm(tensors).item())
    assert len(norms) == 1
    assert norms.pop() == pytest.approx(exact, rel=1e-6)
    assert _core.global_norm([]).item() == 0.0
    assert math.isnan(_core.global_norm([pf.tensor([1.0, math.nan])]).item())


def test_list_operations():
    tensors = [pf.tensor(a) for a in _arrays("float32")]
    before = [t.numpy().copy() for t in tensors]
    _core.scale_(tensors, 0.5)
    assert all(same_bits(t.numpy(), b * np.float32(0.5)) for t, b in zip(tensors, before, strict=True))
    copies = _zeros("float32")
    _core.copy_(copies, tensors)
    assert all(same_bits(c.numpy(), t.numpy()) for c, t in zip(copies, tensors, strict=True))
    _core.zero_(tensors)
    assert not any(t.numpy().any() for t in tensors)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_against_torch(nesterov):
    params = [torch.nn.Parameter(torch.tensor(a)) for a in _arrays("float64")]
    optimizer = torch.optim.SGD(params, lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=nesterov)
    ours, buffers = [pf.tensor(a) for a in _arrays("float64")], _zeros("float64")
    for step in range(1, 6):
        grads = _arrays("float64", step)
        for param, grad in zip(params, grads, strict=True):
            param.grad = torch.tensor(grad)
        optimizer.step()
        _core.sgd_step_(ours, [pf.tensor(g) for g in grads], buffers, 0.1, 0.9, 0.01, nesterov)
    for got, param in zip(ours, params, strict=True):
        np.testing.assert_allclose(got.numpy(), param.detach().numpy(), rtol=1e-12, atol=1e-12)


def test_clip_gradients():
    params = [pf.tensor(a, requires_grad=True) for a in (*_arrays("float32"), np.ones(1, "float32"))]
    for p, grad in zip(params[:-1], _arrays("float32", 5), strict=True):
        p.grad = pf.tensor(grad)
    norm = _core.global_norm([p.grad for p in params[:-1]]).item()
    assert _core.clip_gradients_(params, 2 * norm).item() == norm
    assert all(same_bits(p.grad.numpy(), g) for p, g in zip(params[:-1], _arrays("float32", 5), strict=True))
    assert _core.clip_gradients_(params, 0.5 * norm).item() == norm
    assert _core.global_norm([p.grad for p in params[:-1]]).item() == pytest.approx(0.5 * norm, rel=1e-6)
    assert params[-1].grad is None
    assert _core.clip_gradients_([pf.ones(2)], 1.0).item() == 0.0
    for wrong in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="clip_gradients_: max_norm must be above 0"):
            _core.clip_gradients_(params, wrong)


def _lists(n=2):
    return [[pf.ones((3,)) for _ in range(n)] for _ in range(4)]


def _refused(error, words, lists=None, **options):
    lists = lists or _lists()
    before = [[t.numpy().copy() for t in tensors] for tensors in lists]
    with pytest.raises(error, match=words):
        _core.adamw_step_(*lists, **{**OPTIONS, "step": 1, **options})
    for tensors, values in zip(lists, before, strict=True):
        assert all(same_bits(t.numpy(), v) for t, v in zip(tensors, values, strict=True)), "written before refused"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("lr", -1.0),
        ("lr", math.nan),
        ("lr", math.inf),
        ("beta1", 1.0),
        ("beta2", -0.1),
        ("eps", -1e-8),
        ("weight_decay", -0.1),
        ("step", 0),
    ],
)
def test_coefficients_out_of_range(option, value):
    _refused(ValueError, f"adamw_step_: {option} must be", **{option: value})


@pytest.mark.parametrize("which", [1, 2, 3])
def test_lists_that_do_not_match(which):
    lists = _lists()
    lists[which].pop()
    _refused(ValueError, "must hold 2 tensors", lists)
    lists = _lists()
    lists[which][1] = pf.ones((4,))
    _refused(ValueError, r"\[1\] must be \(3,\)", lists)
    lists = _lists()
    lists[which][1] = pf.ones((3,), dtype=pf.float64)
    _refused(TypeError, "must be float32", lists)


def test_integers_are_refused():
    lists = [[pf.ones((3,), dtype=pf.int64)] for _ in range(4)]
    _refused(TypeError, "params must be of float dtypes, got int64", lists)


@pytest.mark.parametrize(("a", "b"), [(0, 1), (0, 2), (2, 3), (1, 3)])
def test_shared_memory_is_refused(a, b):
    lists = _lists()
    lists[a][0] = lists[b][1]
    _refused(ValueError, "shares memory", lists)
    lists = _lists()
    memory = np.zeros(5, np.float32)
    lists[a][0], lists[b][1] = pf.asarray(memory[:3]), pf.asarray(memory[2:])
    _refused(ValueError, "shares memory", lists)


def test_results_of_operations_are_refused():
    x = pf.tensor([1.0, 2.0, 3.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="zero_"):
        _core.zero_([pf.ops.softmax(x)])


def test_a_step_is_seen_by_backward():
    x = pf.tensor([1.0, 2.0, 3.0], requires_grad=True)
    out = pf.ops.rms_norm(x).sum()
    _core.scale_([x], 2.0)
    with pytest.raises(RuntimeError, match="rms_norm"):
        out.backward()


def test_masters_must_fit():
    def lists(dtype):
        return [[pf.ones((3,), dtype=dtype)], *([pf.ones((3,))] for _ in range(3))]

    def refused(error, words, dtype, **options):
        given = lists(dtype)
        with pytest.raises(error, match=words):
            _core.adamw_step_(*given, **OPTIONS, step=1, **options)
        assert all((t.to(pf.float32).numpy() == 1).all() for (t,) in given), "written before refused"

    refused(TypeError, r"masters\[0\] must be a tensor", pf.bfloat16)
    refused(TypeError, r"masters\[0\] must be a tensor", pf.bfloat16, masters=[None])
    refused(
        TypeError,
        r"masters\[0\] must be float32 as params\[0\] is bfloat16, got bfloat16",
        pf.bfloat16,
        masters=lists(pf.bfloat16)[0],
    )
    refused(ValueError, r"masters\[0\] must be absent, as params\[0\] is float32", pf.float32, masters=[pf.ones((3,))])
    refused(ValueError, "masters must hold 1 tensors", pf.bfloat16, masters=[pf.ones((3,))] * 2)


LARGE = [1e19, -1e21, 3e38, -3e38, 1.0, 1e-30, math.inf, math.nan]


@pytest.mark.parametrize("isa", _core.supported_isas())
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_a_gradient_whose_square_is_infinite_does_not_stop_a_parameter(dtype, isa):
    """A finite one steps by the learning rate, as any first gradient does, and later ones go on; others give NaN."""
    _core.set_isa(isa)
    wide = pf.float64 if dtype == "float64" else pf.float32
    large = np.array(LARGE * 3) * (np.where(np.abs(LARGE * 3) > 1e18, 1e200, 1.0) if dtype == "float64" else 1.0)
    param = pf.ones(24, dtype=dtype)
    state = [pf.zeros(24, dtype=wide) for _ in range(2)]
    masters = [pf.ones(24)] if dtype == "bfloat16" else []
    options = {**OPTIONS, "lr": 0.25, "weight_decay": 0.0, "masters": masters}
    _core.adamw_step_([param], [pf.tensor(large, dtype=wide)], [state[0]], [state[1]], **options, step=1)
    expected = np.where(np.abs(large) > 1e-8, 1 - 0.25 * np.sign(large), 1.0)
    found = param.to(pf.float64).numpy().reshape(3, 8)
    np.testing.assert_allclose(found[:, :6], expected.reshape(3, 8)[:, :6], rtol=1e-6)
    assert np.isnan(found[:, 6:]).all()
    assert np.isfinite(state[1].numpy().reshape(3, 8)[:, :6]).all()
    for step in range(2, 5):
        before = param.to(pf.float64).numpy().copy()
        gradient = pf.tensor(-large, dtype=wide)
        _core.adamw_step_([param], [gradient], [state[0]], [state[1]], **options, step=step)
        moved = (param.to(pf.float64).numpy() != before).reshape(3, 8)
        assert moved[:, :5].all() or step == 2  # where both averages may cancel


@pytest.mark.parametrize("kind", ["AdamW", "Adam", "RMSprop", "Adagrad"])
def test_an_optimiser_goes_on_after_a_huge_gradient(kind):
    w = pf.tensor([0.0, 0.0], requires_grad=True)
    optimizer = getattr(pf.optim, kind)([w], lr=0.5, weight_decay=0.0)
    for gradient in (1e30, -1e30, -1e30, -1e30):
        before = w.detach().numpy().copy()
        w.grad = pf.tensor([gradient, 1.0])
        optimizer.step()
        assert np.isfinite(w.detach().numpy()).all()
    assert w.detach().numpy()[0] != before[0]
