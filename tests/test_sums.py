"""A sum over an axis has one order: the same bits whatever is kept beside the axis, and whichever axis it is."""

from __future__ import annotations

import numpy as np
import pytest
from tolerance import same_bits

import pyformer as pf
from pyformer import _core

ISAS = _core.supported_isas()
LENGTHS = (1, 2, 3, 5, 8, 12, 15, 16, 17, 31, 40, 80, 300, 4095, 4096, 4097, 9000)


@pytest.fixture(params=ISAS)
def isa(request):
    _core.set_isa(request.param)
    return request.param


def values(*shape, dtype="float32"):
    x = np.random.default_rng(shape).standard_normal(shape)
    return pf.tensor(x.astype("float64" if dtype == "float64" else "float32")).to(dtype)


def row_sum(x: np.ndarray) -> np.ndarray:
    """The row-reduction rule, down the first axis of (n, columns), in the array's dtype."""
    blocks = []
    for start in range(0, len(x), 4096):
        lanes = [np.zeros_like(x[0]) for _ in range(16)]
        for i, row in enumerate(x[start : start + 4096]):
            lanes[i % 16] = lanes[i % 16] + row
        for half in (8, 4, 2, 1):
            lanes = [lanes[i] + lanes[i + half] for i in range(half)]
        blocks.append([lanes[0], 1])
        while len(blocks) > 1 and blocks[-1][1] == blocks[-2][1]:
            (a, n), (b, _) = blocks[-2:]
            blocks[-2:] = [[a + b, 2 * n]]
    while len(blocks) > 1:
        blocks[-2:] = [[blocks[-2][0] + blocks[-1][0], 0]]
    return blocks[0][0]


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("op", ["sum", "mean"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_number_of_columns(isa, dtype, op, n):
    f = getattr(pf.ops, op)
    x = values(n, 7, dtype=dtype)
    expected = row_sum(x.numpy()) / (x.numpy().dtype.type(n) if op == "mean" else 1)
    assert same_bits(f(x, axis=0).numpy(), expected)
    for first, last in ((0, 1), (3, 4), (2, 5)):
        part = pf.tensor(np.ascontiguousarray(x.numpy()[:, first:last]))
        assert same_bits(f(part, axis=0).numpy(), expected[first:last])
    assert same_bits(f(pf.tensor(np.ascontiguousarray(x.numpy().T)), axis=1).numpy(), expected)
    assert same_bits(f(pf.tensor(np.ascontiguousarray(x.numpy()[:, 3]))).numpy(), expected[3])


@pytest.mark.parametrize("columns", [1, 2, 63, 64, 65, 127, 128, 255, 256, 257, 511, 600])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ranges_of_columns(isa, dtype, columns):
    for outer, n in ((1, 70), (3, 9), (1, 4200), (40, 17)):
        x = values(outer, n, columns, dtype=dtype)
        got = pf.ops.sum(x, axis=1).numpy()
        assert same_bits(got, np.stack([row_sum(matrix) for matrix in x.numpy()]))


def test_the_report(isa):
    x = np.random.default_rng(1).standard_normal((3, 2)).astype(np.float32)
    whole, column = pf.ops.sum(pf.tensor(x), axis=0), pf.ops.sum(pf.tensor(x[:, :1]), axis=0)
    assert whole.numpy()[0].tobytes() == column.numpy()[0].tobytes()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sixteen_bits(isa, dtype):
    for shape in ((40, 1), (40, 3), (300, 5), (4100, 2)):
        x = values(*shape, dtype=dtype)
        expected = pf.tensor(row_sum(x.to("float32").numpy())).to(dtype).to("float32").numpy()
        assert same_bits(pf.ops.sum(x, axis=0).to("float32").numpy(), expected)


def test_groups_of_axes_do_not_depend_on_extents(isa):
    x = values(5, 3, 7)
    whole = pf.ops.sum(x, axis=(0, 2)).numpy()
    for i in range(3):
        assert same_bits(pf.ops.sum(x[:, i : i + 1], axis=(0, 2)).numpy(), whole[i : i + 1])


BINARY = ("add", "subtract", "multiply", "divide", "maximum", "minimum", "power")


@pytest.mark.parametrize("op", BINARY)
@pytest.mark.parametrize("side", [0, 1])
def test_gradients_of_broadcast_operands(isa, op, side):
    """Of an operand (1, columns): column 0 does not see how many columns there are; its bits are those of a row."""
    f = getattr(pf.ops, op)

    def gradient(operand, other, dout):
        operand = pf.tensor(operand, requires_grad=True)
        pair = (operand, pf.tensor(other)) if side == 0 else (pf.tensor(other), operand)
        f(*pair).backward(pf.tensor(dout))
        return operand.grad.numpy()

    rng = np.random.default_rng(0)
    for n in (3, 20, 300):
        small = 0.5 + rng.random((1, 4, 1), dtype="f")
        large, dout = 0.5 + rng.random((n, 4, 5), dtype="f"), rng.standard_normal((n, 4, 5)).astype("f")
        whole = gradient(small, large, dout)
        for i in range(4):
            at = slice(i, i + 1)
            assert same_bits(gradient(small[:, at], large[:, at], dout[:, at]), whole[:, at])
        one = gradient(small[:, :, 0], large[:, :, 0], dout[:, :, 0])
        turned = gradient(small[0], np.ascontiguousarray(large[:, :, 0].T), np.ascontiguousarray(dout[:, :, 0].T))
        assert same_bits(turned, one.T)


def test_gradients_of_products_and_where(isa):
    rng = np.random.default_rng(0)
    cond, a, dout = rng.random((20, 3)) < 0.5, rng.standard_normal((1, 3)), rng.standard_normal((20, 3))

    def gradient(columns):
        operand = pf.tensor(a[:, columns].astype("f"), requires_grad=True)
        pf.ops.where(pf.tensor(cond[:, columns]), operand, 0.0).backward(pf.tensor(dout[:, columns].astype("f")))
        return operand.grad.numpy()

    assert same_bits(gradient(slice(0, 1)), gradient(slice(0, 3))[:, :1])


@pytest.mark.parametrize("channels", [2, 3])
def test_conv_bias(isa, channels):
    rng = np.random.default_rng(0)
    x, dout = rng.standard_normal((5, 2, 4, 6)).astype("f"), rng.standard_normal((5, channels, 4, 6)).astype("f")

    def dbias(some):
        weight = pf.tensor(np.ones((dout[:, some].shape[1], 2, 1, 1), np.float32))
        bias = pf.zeros(dout[:, some].shape[1], requires_grad=True)
        pf.ops.conv2d(pf.tensor(x), weight, bias).backward(pf.tensor(np.ascontiguousarray(dout[:, some])))
        return bias.grad.numpy()

    assert same_bits(dbias(slice(0, 1)), dbias(slice(0, channels))[:1])
