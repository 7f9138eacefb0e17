"""dropout: how many, how large, and the same mask in backward."""

from __future__ import annotations

import numpy as np
import pytest

import pyformer as pf

ops = pf.ops


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_share_and_scale(dtype, p):
    pf.manual_seed(3)
    size = 100_003
    out = ops.dropout(pf.tensor(np.ones(size, dtype)), p).numpy()
    kept = out != 0
    np.testing.assert_array_equal(np.unique(out[kept]), [dtype(1 / (1 - p))])
    assert abs(kept.mean() - (1 - p)) < 5 * np.sqrt(p * (1 - p) / size)


def test_backward_uses_the_same_mask():
    pf.manual_seed(1)
    x = pf.tensor(np.ones((33, 17), np.float32), requires_grad=True)
    out = ops.dropout(x, 0.3)
    pf.rand(100)
    dout = np.random.default_rng(0).standard_normal((33, 17)).astype(np.float32)
    out.backward(pf.tensor(dout))
    np.testing.assert_array_equal(x.grad.numpy(), dout * out.detach().numpy())


def test_seed_gives_the_mask_again_and_streams_differ():
    x = pf.ones(1000)
    pf.manual_seed(7)
    first, second = ops.dropout(x, 0.5).numpy(), ops.dropout(x, 0.5).numpy()
    assert (first != second).any()
    pf.manual_seed(7)
    np.testing.assert_array_equal(ops.dropout(x, 0.5).numpy(), first)
    pf.manual_seed(8)
    assert (ops.dropout(x, 0.5).numpy() != first).any()


def test_an_element_does_not_depend_on_its_neighbours():
    pf.manual_seed(7)
    short = ops.dropout(pf.ones(77), 0.5).numpy()
    pf.manual_seed(7)
    long = ops.dropout(pf.ones(50_000), 0.5).numpy()
    np.testing.assert_array_equal(long[:77], short)


def test_same_bits_on_threads_and_sets():
    from pyformer import _core

    threads, isa = pf.get_num_threads(), _core.isa()
    results = set()
    try:
        for name in _core.supported_isas():
            _core.set_isa(name)
            for count in (1, 2, 3):
                pf.set_num_threads(count)
                pf.manual_seed(5)
                results.add(ops.dropout(pf.ones(40_001), 0.2).numpy().tobytes())
    finally:
        pf.set_num_threads(threads)
        _core.set_isa(isa)
    assert len(results) == 1


def test_dropped_is_zero_whatever_was_there():
    pf.manual_seed(0)
    out = ops.dropout(pf.tensor(np.full(1000, np.nan, np.float32)), 0.5).numpy()
    assert 400 < np.isnan(out).sum() < 600
    assert (out[~np.isnan(out)] == 0).all()


def test_zero_p_is_the_identity():
    state = pf._core.rng_state()
    x = pf.tensor(np.arange(5.0), requires_grad=True)
    out = ops.dropout(x, 0.0)
    np.testing.assert_array_equal(out.detach().numpy(), x.detach().numpy())
    assert pf._core.rng_state() == state


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, float("nan")])
def test_bad_p(p):
    with pytest.raises(ValueError, match="dropout: expected 0 <= p < 1"):
        ops.dropout(pf.ones(3), p)


def test_bad_dtype():
    with pytest.raises(TypeError, match="dropout: x must be of a float dtype, got int64"):
        ops.dropout(pf.tensor([1, 2]), 0.5)


def test_empty():
    assert ops.dropout(pf.zeros(0, 3), 0.5).shape == (0, 3)
