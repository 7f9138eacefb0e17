"""Norms of rows on which a plain float formula fails: constant, far from zero, squares that overflow or vanish. Every
instruction set gives the same bits, and those are close to the formula in numbers that hold the row with room."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tolerance import same_bits

import pyformer as pf
from pyformer import _core, ops

UNIT = {"float32": 2.0**-24, "float64": 2.0**-53}
WIDER = {"float32": np.float64, "float64": np.longdouble}


def exact(x, weight, bias, dout, eps, centre):
    """Output and gradients of x in rows, in `WIDER` numbers."""
    count = x.shape[1]
    if centre:
        x = x - x[:, :1]  # without a rounding where a row is far from 0
    mean = x.mean(axis=1, keepdims=True) if centre else 0
    rstd = 1 / np.sqrt(np.square(x - mean).mean(axis=1, keepdims=True) + eps)
    xhat, g = (x - mean) * rstd, dout * weight
    mean_g = g.sum(axis=1, keepdims=True) / count if centre else 0
    dx = rstd * (g - mean_g - xhat * (g * xhat).sum(axis=1, keepdims=True) / count)
    return {"out": xhat * weight + bias, "dx": dx, "dweight": dout * xhat, "dbias": dout, "rstd": rstd, "g": g}


def backward(out, dout):
    _core.backward_many([out], [pf.tensor(dout)])


# Each takes rows and gives (out, dx) in rows: one weight and one bias a row, or one of each a column (`columns`).
def layer_norm(x, weight, bias, dout, eps):
    x = pf.tensor(x, requires_grad=True)
    out = ops.layer_norm(x, pf.tensor(weight), pf.tensor(bias), eps=eps)
    backward(out, dout)
    return out.numpy(), x.grad.numpy()


def rms_norm(x, weight, bias, dout, eps):
    x = pf.tensor(x, requires_grad=True)
    out = ops.rms_norm(x, pf.tensor(weight), eps=eps)
    backward(out, dout)
    return out.numpy(), x.grad.numpy()


def group_norm(x, weight, bias, dout, eps):
    """A column is a channel of one position: the sums run over planes."""
    x = pf.tensor(x, requires_grad=True)
    out = ops.group_norm(x, 1, pf.tensor(weight), pf.tensor(bias), eps=eps)
    backward(out, dout)
    return out.numpy(), x.grad.numpy()


def plane_norm(x, weight, bias, dout, eps):
    """A row is one channel of one picture: the sums run within a plane."""
    x = pf.tensor(x[:, None], requires_grad=True)
    out = ops.group_norm(x, 1, eps=eps)
    backward(out, dout[:, None])
    return out.numpy()[:, 0], x.grad.numpy()[:, 0]


def batch_norm(x, weight, bias, dout, eps):
    """A row is a channel, over as many pictures as it has elements."""
    x = pf.tensor(np.ascontiguousarray(x.T), requires_grad=True)
    out = ops.batch_norm(x, training=True, eps=eps)
    backward(out, np.ascontiguousarray(dout.T))
    return out.numpy().T, x.grad.numpy().T


def norm_linear(x, weight, bias, dout, eps):
    """The product with the identity leaves the norm."""
    x = pf.tensor(x, requires_grad=True)
    eye = pf.tensor(np.eye(x.shape[1], dtype=weight.dtype))
    out = ops.norm_linear(x, pf.tensor(weight), pf.tensor(bias), eye, eps=eps)
    backward(out, dout)
    return out.numpy(), x.grad.numpy()


NORMS = {f.__name__: f for f in (layer_norm, rms_norm, group_norm, plane_norm, batch_norm, norm_linear)}
PLAIN = {"plane_norm", "batch_norm"}  # without weight and bias


def case_of(norm, x, dtype):
    """x, weight, bias, dout of that dtype, and what is exact of them."""
    rng = np.random.default_rng(1)
    weight, bias = (rng.standard_normal(x.shape[1]).astype(dtype) for _ in range(2))
    dout = rng.standard_normal(x.shape).astype(dtype)
    if norm in PLAIN:
        weight, bias = np.ones_like(weight), np.zeros_like(bias)
    if norm == "rms_norm":
        bias = np.zeros_like(bias)
    return x.astype(dtype), weight, bias, dout


def check(norm, rows, eps, dtype, times=8.0):
    """Same bits in every set, and errors of few roundings of numbers of ordinary size."""
    x, weight, bias, dout = case_of(norm, rows, dtype)
    wide = WIDER[dtype]
    want = exact(*(a.astype(wide) for a in (x, weight, bias, dout)), wide(eps), norm != "rms_norm")
    results = []
    for isa in _core.supported_isas():
        _core.set_isa(isa)
        results.append(NORMS[norm](x, weight, bias, dout, eps))
    for got in results:
        assert all(same_bits(a, b) for a, b in zip(got, results[0], strict=True))
    out, dx = results[0]
    room = times * UNIT[dtype]
    assert np.isfinite(out).all()
    np.testing.assert_array_less(
        np.abs(out.astype(wide) - want["out"]), room * (1 + np.abs(want["out"]) + np.abs(bias) + np.abs(weight)) + 1e-44
    )
    # dx is rstd times a difference of numbers as large as g.
    size = want["rstd"] * (np.abs(want["g"]) + np.sqrt(np.square(want["g"]).mean(axis=1, keepdims=True)))
    tiniest = 2 * np.finfo(dtype).smallest_subnormal
    with np.errstate(over="ignore"):
        representable = np.abs(want["dx"]) < np.finfo(dtype).max * (1 - 4 * room)
    error = np.abs(dx.astype(wide) - want["dx"])
    np.testing.assert_array_less(error[representable], (4 * room * size + tiniest)[representable])
    assert not np.isnan(dx).any()


def check_constant(norm, rows, all_eps, dtype):
    for eps in all_eps:
        x, weight, bias, dout = case_of(norm, rows, dtype)
        for isa in _core.supported_isas():
            _core.set_isa(isa)
            out, dx = NORMS[norm](x, weight, bias, dout, eps)
            np.testing.assert_array_equal(out, np.broadcast_to(bias, out.shape))
            g = (dout * weight).astype(np.float64)
            held = float(np.array(eps, dtype))  # 1e-40 is a rough number in float32
            want = (g - g.mean(axis=1, keepdims=True)) / math.sqrt(held)
            room = 64 * UNIT[dtype] * np.abs(g).max() / math.sqrt(held)
            np.testing.assert_allclose(dx, want, rtol=0, atol=room)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("norm", sorted(set(NORMS) - {"rms_norm"}))
@pytest.mark.parametrize("width", [2, 5, 16, 17, 31, 768, 4097])
def test_a_constant_row_gives_the_bias(norm, width, dtype):
    check_constant(norm, np.full((2, width), 3e38), (1e-30, 1e-40, 1e-45), dtype)
    values = [5.3, 0.3, 66.6, 1000.1, 1e6 + 1, -3.3e38, 3e38, 1e36, 1e-30, 1e-42, 0.0, 16777216.0]
    if norm == "norm_linear" and width > 1000:
        values = values[:3]
    rows = np.repeat(np.array(values)[:, None], width, axis=1)
    check_constant(norm, rows, (1e-12, 1e-5, 1e-6), dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("norm", sorted(NORMS))
@pytest.mark.parametrize("width", [3, 16, 17, 100, 768, 5000])
def test_rows_far_from_zero_are_exact(norm, width, dtype):
    if norm == "norm_linear" and width > 1000:
        width = 257
    rng = np.random.default_rng(width)
    far = UNIT[dtype] ** -1  # neighbours are 2 apart
    rows = [rng.standard_normal(width) + offset for offset in (0, 30, -1e3, 1e6, far / 8)]
    rows += [far + 2 * rng.integers(-3, 4, width), -far * 3 + 4 * rng.integers(0, 2, width)]
    check(norm, np.stack(rows), 1e-5, dtype, times=16.0)
    # One square that is larger than all others together: a chain of 256 loses a part of each of them.
    rows = [np.where(np.arange(width) == 0, 1e6, 1.0), np.where(np.arange(width) == width // 2, 1e6 + 1, 1e6)]
    check(norm, np.stack(rows), 1e-5, dtype, times=256.0)


def huge_and_tiny(dtype, width, seed=0):
    rng = np.random.default_rng(seed)
    limits = np.finfo(dtype)
    normal = rng.standard_normal((1, width))
    normal[0, :2] = 1, -1  # no row is 0
    sizes = [
        10.0**p
        for p in ((19, 20, 30, 37, -18, -19, -20, -25, -30, -37) if dtype == "float32" else (154, 300, -155, -300))
    ]
    rows = [normal * size for size in sizes]
    rows.append(np.where(normal > 0, limits.max, limits.min))
    rows.append(np.where(normal > 0, limits.max, limits.max * 0.99))
    rows.append(np.where(normal > 0, limits.max, 1.0))
    rows.append(np.where(normal > 0, limits.tiny * 0.75, -limits.tiny))
    return np.concatenate(rows)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("norm", sorted(NORMS))
@pytest.mark.parametrize("width", [2, 3, 16, 17, 31, 768])
def test_rows_whose_squares_overflow_or_vanish(norm, width, dtype):
    for eps in (0.0, 1e-5, 1e-30, 1e-45, 1e-300):
        check(norm, huge_and_tiny(dtype, width, width), eps, dtype, times=16.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("norm", sorted(NORMS))
def test_a_row_of_zeros_divides_by_zero_only_without_eps(norm, dtype):
    for eps, expected in ((0.0, math.nan), (1e-300, 0.0 if dtype == "float64" else math.nan), (1e-30, 0.0)):
        x, weight, bias, dout = case_of(norm, np.zeros((2, 17)), dtype)
        out = NORMS[norm](x, weight, np.zeros_like(bias), dout, eps)[0]
        np.testing.assert_array_equal(out, np.full_like(out, expected))


@pytest.mark.parametrize("norm", sorted(NORMS))
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_row_with_an_infinity_or_nan_is_nan_and_others_are_not(norm, value):
    rows = np.random.default_rng(0).standard_normal((3, 33)).astype("float32")
    for column in (0, 5, 32):
        x, weight, bias, dout = case_of(norm, rows, "float32")
        x[1, column] = value
        for isa in _core.supported_isas():
            _core.set_isa(isa)
            out, dx = NORMS[norm](x, weight, bias, dout, 1e-5)
            for got in (out, dx):
                assert np.isnan(got).tolist() == [[False] * 33, [True] * 33, [False] * 33]


@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm", "group_norm"])
@pytest.mark.parametrize("width", [*range(1, 34), 47, 49])
def test_nothing_beyond_a_row_is_read(norm, width):
    """x - mean, 1 / rstd or both are so large or small that a number beyond the row makes NaN."""
    for value, eps in ((1e36, 1e-6), (-3e38, 1e-12), (1e-30, 1e-30), (1e30, 1e-20)):
        rows = np.full((2, width), value, "float32")
        rows[1] = np.linspace(value, value * 0.5, width)
        dout = np.arange(2 * width, dtype="float32").reshape(2, width)
        results = []
        for isa in _core.supported_isas():
            _core.set_isa(isa)
            x, weight = (pf.tensor(a, requires_grad=True) for a in (rows, np.ones(width, "float32")))
            out = (
                ops.group_norm(x, 1, weight, eps=eps)
                if norm == "group_norm"
                else getattr(ops, norm)(x, weight, eps=eps)
            )
            backward(out, dout)
            results.append([out.numpy(), x.grad.numpy(), weight.grad.numpy()])
            assert all(np.isfinite(a).all() for a in results[-1]), (isa, width, value)
        assert all(same_bits(a, b) for got in results for a, b in zip(got, results[0], strict=True))


def test_layer_norm_gradient_of_a_huge_constant_row():
    for isa in _core.supported_isas():
        _core.set_isa(isa)
        x = pf.tensor(np.full((1, 17), 1e36, "float32"), requires_grad=True)
        backward(ops.layer_norm(x, eps=1e-6), np.arange(17, dtype="float32")[None])
        np.testing.assert_allclose(x.grad.numpy()[0], 1e3 * (np.arange(17) - 8.0), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_running_statistics_of_huge_batches(dtype):
    """Where the sum overflows the mean doesn't; where the variance overflows it is infinite in every set."""
    big = {"float32": 3e38, "float64": 1.7e308, "float16": 6e4, "bfloat16": 3e38}[dtype]
    for values in (np.full((2, 2, 3), big), big * np.array([[[1, 1, 1], [0.5, 1, 1]], [[-1, 1, -1], [1, 1, 0.5]]])):
        found = []
        for isa in _core.supported_isas():
            _core.set_isa(isa)
            x = pf.tensor(values).to(dtype)
            mean, var = pf.zeros(2).to(dtype), pf.ones(2).to(dtype)
            out = ops.batch_norm(x, mean, var, training=True)
            found.append([a.to("float64").numpy() for a in (out, mean, var)])
        assert all(same_bits(a, b) for got in found for a, b in zip(got, found[0], strict=True))
        out, mean, var = found[0]
        wide = x.to("float64").numpy().astype(np.longdouble)
        np.testing.assert_allclose(mean, 0.1 * wide.mean(axis=(0, 2)), rtol=0.01)
        if dtype != "float16":
            constant = wide.var(axis=(0, 2)) == 0
            np.testing.assert_array_equal(np.isinf(var), ~constant)
            np.testing.assert_allclose(var[constant], 0.9, rtol=0.01)
        assert np.isfinite(out).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_given_statistics_at_the_limits(dtype):
    most = np.finfo(dtype).max
    x = np.array([[most, -most, 1.0]], dtype).T.copy()  # three pictures of one channel
    for mean in (-most, most, 0.0):
        var = most / 4
        want = (x.astype(np.longdouble) - np.longdouble(mean)) / np.sqrt(np.longdouble(np.array(var, dtype)))
        for isa in _core.supported_isas():
            _core.set_isa(isa)
            given = (pf.tensor(np.array([v], dtype)) for v in (mean, var))
            got = ops.batch_norm(pf.tensor(x), *given).numpy()
            np.testing.assert_allclose(got.astype(np.longdouble), want, rtol=8 * UNIT[dtype], atol=8 * UNIT[dtype])


def test_batch_norm_over_many_pictures_is_exact():
    """A chain of additions over pictures would stop growing."""
    x = np.full((2**20, 1), 3.0, "float32")
    x[::2] = 1.0
    weight, bias = (pf.tensor(np.ones(1, "float32"), requires_grad=True) for _ in range(2))
    mean, var = pf.zeros(1), pf.ones(1)
    out = ops.batch_norm(pf.tensor(x), mean, var, weight, bias, training=True, momentum=1.0)
    backward(out, np.full(x.shape, 0.1, "float32"))
    assert mean.item() == 2.0
    assert var.item() == pytest.approx(1.0, rel=2e-6)
    assert bias.grad.item() == pytest.approx(float(np.float32(0.1)) * 2**20, rel=1e-5)


def norm_of(arrays, dtype):
    found = set()
    for isa in _core.supported_isas():
        for threads in (1, 2):
            _core.set_isa(isa)
            pf.set_num_threads(threads)
            found.add(_core.global_norm([pf.tensor(a).to(dtype) for a in arrays]).item())
    assert len(found) == 1
    return found.pop()


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_norms_of_gradients_that_overflow_or_vanish(dtype):
    rng = np.random.default_rng(0)
    sizes = (1e18, 2e19, 3e37, 1e-18, 1e-23, 1e-30, 1e-37)
    if dtype == "float64":
        sizes = (1e154, 1e200, 1e300, 1e-155, 1e-300, 1e-306)
    shapes = ((5000,), (3, 7), (), (16,))
    parts = [[rng.standard_normal(shape) * size for shape in shapes] for size in sizes]
    parts.append([rng.standard_normal(9) * size for size in sizes])
    parts.append([np.zeros(5000), np.zeros(3), rng.standard_normal(3) * sizes[-2]])
    for arrays in parts:
        arrays = [np.asarray(a, "float64" if dtype == "float64" else "float32") for a in arrays]
        held = [pf.tensor(a).to(dtype).to("float64").numpy().astype(np.longdouble) for a in arrays]
        want = np.sqrt(sum(np.square(a).sum() for a in held))
        assert abs(norm_of(arrays, dtype) / want - 1) < 8 * UNIT["float64" if dtype == "float64" else "float32"]


def test_norms_of_gradients_that_are_not_finite():
    assert norm_of([np.zeros(5000, "f")], "float32") == 0.0
    assert norm_of([np.ones(3, "f"), np.full(2, np.inf, "f")], "float32") == math.inf
    assert math.isnan(_core.global_norm([pf.tensor([1.0, math.nan]), pf.tensor([1e30])]).item())
    assert norm_of([np.full(2, 1.7e308)], "float64") == math.inf  # sqrt(2) times that is no float64


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("limit", [1.0, 1e-3])
def test_clipping_of_huge_gradients(dtype, limit):
    for value, count in ((1e18, 1000), (2e19, 200), (3e38, 5000), (1e-23, 1000)):
        for isa in _core.supported_isas():
            _core.set_isa(isa)
            p = pf.tensor(np.zeros(count, dtype), requires_grad=True)
            p.grad = pf.tensor(np.full(count, value, dtype))
            want = float(np.array(value, dtype)) * math.sqrt(count)
            assert pf.optim.clip_grad_norm_([p], limit).item() == pytest.approx(want, rel=1e-6)
            after = np.linalg.norm(p.grad.numpy().astype(np.float64))
            assert after == pytest.approx(min(limit, want), rel=2e-6)
