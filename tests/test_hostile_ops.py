"""Operands that change behind an op's back, interrupts at bad moments, sizes that are all edge."""

from __future__ import annotations

import _thread
import copy
import math
import pickle

import numpy as np
import pytest

import pyformer as pf
from pyformer import _core, nn, ops, optim


@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_ids_changed_through_numpy_do_not_reach_backward(dtype):
    def gradients(change):
        y = np.array([1, 0, 2], dtype)
        ids = pf.asarray(y)
        x = pf.tensor(np.linspace(0, 1, 12, dtype="float32").reshape(3, 4), requires_grad=True)
        loss = ops.cross_entropy(x, ids, reduction="none").sum()
        loss = loss + ops.linear_cross_entropy(x, pf.ones(3, 4), ids, reduction="none").sum()
        loss = loss + ops.embedding(ids, x).sum() + ops.gather(x, ids.reshape(3, 1), axis=1).sum()
        if change:
            y[:] = 1 << 30
        loss.backward()
        return x.grad.numpy()

    np.testing.assert_array_equal(gradients(True), gradients(False))


@pytest.mark.parametrize("make", [optim.AdamW, lambda p: optim.SGD(p, momentum=0.9)])
@pytest.mark.parametrize("writes", [False, True])
def test_step_count_follows_the_update(make, writes, monkeypatch):
    p = pf.ones(4, requires_grad=True)
    p.grad = pf.ones(4)
    optimizer = make([p])
    optimizer.step()
    for name in ("adamw_step_", "sgd_step_"):
        real = getattr(_core, name)

        def interrupted(*args, real=real, **kwargs):
            if writes:
                real(*args, **kwargs)
                return
            raise KeyboardInterrupt

        monkeypatch.setattr(_core, name, interrupted)
    if writes:
        optimizer.step()
    else:
        with pytest.raises(KeyboardInterrupt):
            optimizer.step()
    assert optimizer.state[id(p)]["step"] == (2 if writes else 1)


def test_interrupt_after_the_update_keeps_its_count():
    states = [{"step": 3}]
    with pytest.raises(KeyboardInterrupt):
        optim._count_step(states, _thread.interrupt_main)  # returns, with a signal waiting for Python
    assert states == [{"step": 4}]


def test_huge_extents_without_elements():
    x = pf.zeros(2**50, 0, requires_grad=True)
    assert x.cumsum(0).shape == (2**50, 0)
    x.sum(axis=0).sum().backward()
    assert x.grad.shape == (2**50, 0)
    assert pf.zeros(2**50, 0, dtype=pf.int64).sum(axis=0).shape == (0,)


def test_totals_beyond_64_bits_are_refused():
    x = pf.zeros(2**62, 0)
    with pytest.raises(ValueError, match="concat"):
        ops.concat([x, x, x], axis=0)
    with pytest.raises(ValueError, match="split"):
        ops.split(x, [2**62, 2**62, 2**62], axis=0)


def test_cumsum_of_integers_wraps_around():
    x = np.array([2**63 - 1, 1, 5], "int64")
    np.testing.assert_array_equal(pf.tensor(x).cumsum(0).numpy(), np.cumsum(x))


def test_a_no_grad_object_may_be_entered_again():
    mode = pf.no_grad()
    with mode, mode:
        assert not _core.grad_enabled()
    assert _core.grad_enabled()


def test_cache_append_checks_fresh():
    cache, positions = pf.zeros(1, 4, 1, 2), pf.tensor([0])
    with pytest.raises(RuntimeError, match="gradient"):
        _core.cache_append_(cache, pf.ones(1, 1, 1, 2, requires_grad=True), positions)
    with pytest.raises(ValueError, match="shares memory"):
        _core.cache_append_(cache, cache, positions)


@pytest.mark.parametrize("eps", [math.inf, math.nan, -1.0])
def test_norms_refuse_eps(eps):
    for make in (nn.LayerNorm, nn.RMSNorm):
        with pytest.raises(ValueError, match="eps"):
            make(4, eps=eps)
    for norm in (ops.layer_norm, ops.rms_norm):
        with pytest.raises(ValueError, match="eps"):
            norm(pf.ones(2, 4), eps=eps)


def test_greater_names_operands_in_their_order():
    for op in (ops.greater, ops.greater_equal):
        with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
            op(pf.ones(2), pf.ones(3))


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda p: optim.AdamW([p.detach()]), ValueError),
        (lambda p: optim.AdamW([p * 2.0]), ValueError),
        (lambda p: optim.SGD([p.detach().to(pf.bfloat16)]), TypeError),
        (lambda p: optim.SGD([pf.tensor([1])]), TypeError),
        (lambda p: optim.AdamW([p], lr="a"), TypeError),
        (lambda p: optim.AdamW([p], lr=None), TypeError),
        (lambda p: optim.AdamW([p], betas=0.9), TypeError),
        (lambda p: optim.AdamW([p], betas=None), TypeError),
        (lambda p: optim.AdamW(None), TypeError),
    ],
)
def test_optimizers_refuse(make, error):
    with pytest.raises(error, match=r"AdamW|SGD"):
        make(pf.ones(2, requires_grad=True))


@pytest.mark.parametrize("name", ["float32", "float64", "bfloat16", "float16", "int64", "int32", "bool"])
def test_pickle_and_deepcopy_of_a_tensor(name):
    x = pf.tensor([[1.0, 0.0, 1.0]]).to(getattr(pf, name))
    for y in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x)):
        assert y.dtype == x.dtype
        assert y.shape == x.shape
        np.testing.assert_array_equal(y.to(pf.float32).numpy(), x.to(pf.float32).numpy())


def test_deepcopy_of_a_module_shares_nothing():
    layer = nn.Linear(3, 2)
    other = copy.deepcopy(layer)
    assert [p.requires_grad for p in other.parameters()] == [True, True]
    with pf.no_grad():
        other.weight[0] = 9.0
    assert layer.weight.numpy().max() < 9.0
    with pytest.raises(ValueError, match="detach"):
        pickle.dumps(layer.weight * 2.0)


@pytest.mark.parametrize("norm", [ops.layer_norm, ops.rms_norm])
@pytest.mark.parametrize("isa", _core.supported_isas())
def test_norms_of_rows_whose_squares_overflow_are_not_zeros(norm, isa):
    before = _core.isa()
    _core.set_isa(isa)
    try:
        x = pf.tensor(np.array([[1e20, -2e20, 3e20, 5e20] * 9, [1.0, 2.0, 3.0, 4.0] * 9], "float32"))
        out = norm(x).numpy()
    finally:
        _core.set_isa(before)
    assert np.isnan(out[0]).all()
    assert np.isfinite(out[1]).all()


@pytest.mark.parametrize("dtype", ["bool", "float16", "float32", "float64"])
@pytest.mark.parametrize("axes", [(1, 0), (0, 2, 1), (2, 1, 0), (1, 0, 2), (3, 1, 0, 2), (0, 2, 1, 3), (3, 2, 1, 0)])
@pytest.mark.parametrize("extents", [(3, 2, 2, 2), (70, 33, 5, 31), (2, 1100, 3, 1), (129, 7, 65, 2)])
def test_transpose_moves_what_numpy_moves(dtype, axes, extents):
    shape = extents[: len(axes)]
    x = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 100, shape).astype(dtype)
    np.testing.assert_array_equal(pf.tensor(x).transpose(*axes).numpy(), x.transpose(axes))


def test_long_rows_moved_in_segments():
    x, y = np.arange(200_001, dtype="float32"), np.arange(70_003, dtype="float32")
    np.testing.assert_array_equal(ops.concat([pf.tensor(x), pf.tensor(y)], axis=0).numpy(), np.concatenate([x, y]))
    np.testing.assert_array_equal(pf.tensor(x)[::-3].numpy(), x[::-3])
    index = np.random.default_rng(0).integers(0, x.size, 90_000)
    big = pf.tensor(x, requires_grad=True)
    picked = ops.gather(big, pf.tensor(index), axis=0)
    np.testing.assert_array_equal(picked.numpy(), x[index])
    picked.sum().backward()
    np.testing.assert_array_equal(big.grad.numpy(), np.bincount(index, minlength=x.size))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("shape", [(600_001,), (1, 300_000, 2), (3, 700, 1500), (270, 1025)])
def test_cumsum_adds_in_order_over_its_parts(dtype, shape):
    x = np.random.default_rng(0).standard_normal(shape) * 10
    x = x.astype(dtype)
    for axis in range(len(shape)):
        np.testing.assert_array_equal(pf.tensor(x).cumsum(axis).numpy(), np.cumsum(x, axis=axis))
