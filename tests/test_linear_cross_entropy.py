"""linear_cross_entropy over several chunks of rows: the bits of linear followed by cross_entropy."""

from __future__ import annotations

import numpy as np
import pytest
from tolerance import same_bits

import pyformer as pf

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
