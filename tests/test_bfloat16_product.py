"""The documented sum of bfloat16's products (base/bfloat16_dot.h), against exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

import pyformer as pf
from pyformer import _core, ops

TINY = Fraction(1, 2**126)  # the smallest normal float32


def rounded(exact: Fraction) -> float:
    """To 24 bits, ties to even, whatever the exponent; zero where that is below 2^-126."""
    exponent = math.floor(math.log2(abs(exact))) if exact else 0
    while abs(exact) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    while exact and abs(exact) < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** (exponent - 23)
    value = round(exact / unit) * unit  # Fraction rounds ties to even
    return float(value) if abs(value) >= TINY else 0.0


def flush(x: float) -> float:
    return x if abs(x) >= 2.0**-126 else 0.0


def documented(a: np.ndarray, b: np.ndarray) -> float:
    a, b = [flush(float(v)) for v in a], [flush(float(v)) for v in b]
    c = 0.0
    for start in range(0, len(a), 32):
        chains = [0.0, 0.0]
        for k in range(start, min(start + 32, len(a))):
            chains[k % 2] = rounded(Fraction(a[k]) * Fraction(b[k]) + Fraction(chains[k % 2]))
        s = rounded(Fraction(chains[0]) + Fraction(chains[1]))
        c = rounded(Fraction(c) + Fraction(s))
    return c


def bfloat16(array) -> pf.Tensor:
    return pf.tensor(np.asarray(array, np.float32)).to("bfloat16")


def product(a: pf.Tensor, b: pf.Tensor) -> np.ndarray:
    """float32 sums: the gradient of a parameter is not rounded to 16 bits."""
    w = pf.tensor(np.zeros((b.shape[1], a.shape[0]), np.float32)).to("bfloat16")
    w.requires_grad = True
    x = pf.tensor(b.to("float32").numpy()).to("bfloat16")  # (k, n)
    out = ops.linear(pf.tensor(a.to("float32").numpy().T.copy()).to("bfloat16"), w)  # (k, n)
    out.backward(x)
    return w.grad.numpy().T


REGIMES = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "wide": lambda rng, shape: rng.standard_normal(shape) * 2.0 ** rng.integers(-30, 30, shape),
    "around the smallest normal": lambda rng, shape: rng.standard_normal(shape) * 2.0 ** rng.integers(-66, -60, shape),
    "denormal operands": lambda rng, shape: rng.standard_normal(shape) * 2.0 ** rng.integers(-130, 3, shape),
}


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("k", [1, 2, 31, 32, 33, 70, 300])
def test_is_the_documented_sum(k, regime):
    rng = np.random.default_rng(k)
    a = bfloat16(REGIMES[regime](rng, (4, k)))
    b = bfloat16(REGIMES[regime](rng, (k, 5)))
    wide_a, wide_b = a.to("float32").numpy(), b.to("float32").numpy()
    expected = np.array([[documented(row, column) for column in wide_b.T] for row in wide_a])
    got = product(a, b)
    np.testing.assert_array_equal(got.astype(np.float64), expected)
    # What is stored in 16 bits is the same sum, rounded once.
    once = pf.tensor(expected.astype(np.float32)).to("bfloat16").to("float32").numpy()
    np.testing.assert_array_equal(ops.matmul(a, b).to("float32").numpy(), once)
    np.testing.assert_array_equal(ops.matmul(b, a, transpose_a=True, transpose_b=True).to("float32").numpy(), once.T)
    np.testing.assert_array_equal(ops.linear(a, bfloat16(wide_b.T)).to("float32").numpy(), once)


def test_a_sum_just_below_the_smallest_normal_is_zero():
    """2^-126 - 2^-150 with 24 bits whatever the exponent; among denormals it would round to 2^-126."""
    a, b = bfloat16([[1.0, 0.0, -(2.0**-24), 0.0]]), bfloat16([[2.0**-126], [0.0], [2.0**-126], [0.0]])
    assert product(a, b) == 0.0
    a = bfloat16([[1.0, 0.0, -(2.0**-25), 0.0]])
    assert product(a, b) == np.float32(2.0**-126)


@pytest.mark.parametrize("isa", _core.supported_isas())
def test_the_same_in_every_set_and_for_any_rows(isa):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((20, 100)), rng.standard_normal((30, 100))
    _core.set_isa("ref")
    whole = ops.linear(bfloat16(a), bfloat16(b)).to("float32").numpy()
    _core.set_isa(isa)
    packed = _core.PackedLinear(bfloat16(b))
    for rows in (1, 7, 20):
        for run in (lambda x: ops.linear(x, bfloat16(b)), packed):
            np.testing.assert_array_equal(run(bfloat16(a[:rows])).to("float32").numpy(), whole[:rows])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_epilogue_acts_on_the_sum_and_one_rounding_follows(dtype):
    rng = np.random.default_rng(1)

    def half(*shape):
        return pf.tensor(rng.standard_normal(shape).astype(np.float32)).to(dtype)

    x, w, bias, residual = half(9, 32), half(11, 32), half(11), half(9, 11)
    got = ops.linear(x, w, bias, activation="gelu", residual=residual)
    assert str(got.dtype).endswith(dtype)
    wide = [t.to("float32") for t in (x, w, bias, residual)]
    if dtype == "float16":
        expected = ops.linear(*wide[:3], activation="gelu", residual=wide[3])
    else:  # the sum is another
        sums = np.array([[documented(r, c) for c in wide[1].numpy()] for r in wide[0].numpy()], np.float32)
        expected = ops.gelu(pf.tensor(sums) + wide[2]) + wide[3]
    np.testing.assert_array_equal(got.to("float32").numpy(), expected.to(dtype).to("float32").numpy())


def test_gradients_of_parameters_are_float32():
    rng = np.random.default_rng(1)
    x, w = bfloat16(rng.standard_normal((70, 8))), bfloat16(rng.standard_normal((5, 8)))
    bias = bfloat16(rng.standard_normal(5))
    for tensor in (x, w, bias):
        tensor.requires_grad = True
    ops.linear(x, w, bias, activation="silu").backward(bfloat16(rng.standard_normal((70, 5))))
    for tensor in (w, bias):
        grad = tensor.grad
        assert str(grad.dtype).endswith("float32")
        assert not np.array_equal(grad.to("bfloat16").to("float32").numpy(), grad.numpy())
