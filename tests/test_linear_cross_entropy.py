"""linear_cross_entropy over several chunks of rows: the bits of linear followed by cross_entropy."""

from __future__ import annotations

import numpy as np
import pytest
from tolerance import same_bits

import pyformer as pf
from pyformer import _core

ROWS, WIDTH, CLASSES = 300, 3, 140_000  # 256 rows of logits in float32 fill a chunk


def _gradients(loss, dout, **tensors):
    for tensor in tensors.values():
        tensor.grad = None
    loss.backward(dout)
    return [loss.numpy().copy(), *(t.grad.numpy().copy() for t in tensors.values())]


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_chunks_leave_no_trace(reduction):
    rng = np.random.default_rng(0)
    targets = pf.tensor(np.where(rng.random(ROWS) < 0.1, -100, rng.integers(0, CLASSES, ROWS)))
    arrays = {
        "x": rng.standard_normal((ROWS, WIDTH)),
        "weight": rng.standard_normal((CLASSES, WIDTH)),
        "bias": rng.standard_normal(CLASSES),
    }
    tensors = {k: pf.tensor(a.astype("float32"), requires_grad=True) for k, a in arrays.items()}
    x, weight, bias = tensors.values()
    # One number's dout multiplies the finished gradients, instead of every row's: the same bits for 1.
    dout = None if reduction == "mean" else pf.tensor(rng.standard_normal(ROWS).astype("float32"))
    fused = pf.ops.linear_cross_entropy(x, weight, targets, bias, reduction=reduction)
    got = _gradients(fused, dout, **tensors)
    whole = pf.ops.cross_entropy(pf.ops.linear(x, weight, bias), targets, reduction=reduction)
    expected = _gradients(whole, dout, **tensors)
    assert all(same_bits(a, b) for a, b in zip(got, expected, strict=True))


WEIGHT = np.random.default_rng(2).standard_normal((6, 5))


@pytest.mark.parametrize("isa", _core.supported_isas())
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_ignored_rows_count_for_nothing_whatever_they_hold(reduction, dtype, isa):
    """The gradient of the weight is the sum over rows, but not over these."""
    _core.set_isa(isa)
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((9, 5))
    targets = np.array([0, -100, 2, 3, -100, 5, 1, -100, 0])
    rows[1], rows[4, 2], rows[7, 0] = np.nan, np.inf, -np.inf

    def gradients(x):
        x, weight = (pf.tensor(pf.tensor(a).to(dtype), requires_grad=True) for a in (x, WEIGHT))
        bias = pf.zeros(6, dtype=dtype, requires_grad=True)
        loss = pf.ops.linear_cross_entropy(x, weight, pf.tensor(targets), bias, reduction=reduction)
        loss.backward(pf.full(loss.shape, 0.5, dtype=dtype))
        return [t.detach().to("float64").numpy() for t in (loss, x.grad, weight.grad, bias.grad)]

    clean = np.where(np.isfinite(rows), rows, 0.0)
    assert all(same_bits(a, b) for a, b in zip(gradients(rows), gradients(clean), strict=True))


def test_rows_that_count_pass_on_what_is_not_finite():
    x = pf.tensor([[1.0, np.nan], [1.0, 2.0]])
    weight = pf.ones(3, 2, requires_grad=True)
    pf.ops.linear_cross_entropy(x, weight, pf.tensor([0, -100])).backward()
    assert np.isnan(weight.grad.numpy()).all()
