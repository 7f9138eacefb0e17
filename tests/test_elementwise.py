"""What the case table cannot say about elementwise ops: dtypes, numbers, errors, ties, casts."""

from __future__ import annotations

import math

import numpy as np
import pytest

import pyformer as pf
from pyformer import _core

ops = pf.ops


def t(data, dtype=np.float32, **kwargs):
    return pf.tensor(np.asarray(data, dtype), **kwargs)


INTEGERS = [np.int64, np.int32, np.int8, np.uint8]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_match_numpy(dtype):
    rng = np.random.default_rng(0)
    a = rng.integers(-50, 50, (6, 7)).astype(dtype)
    b = rng.integers(1, 9, 7).astype(dtype) * rng.choice([-1, 1], 7).astype(dtype)
    x, y = pf.tensor(a), pf.tensor(b)
    for got, expected in [
        (x + y, a + b),
        (x - y, a - b),
        (x * y, a * b),
        (x // y, a // b),
        (x // 3, a // 3),
        (-x, -a),
        (abs(x), abs(a)),
        (x**2, a**2),
        (ops.maximum(x, y), np.maximum(a, b)),
        (ops.minimum(x, y), np.minimum(a, b)),
        (x < y, a < b),
        (x >= y, a >= b),
        (x == 3, a == 3),
    ]:
        np.testing.assert_array_equal(got.numpy(), expected)
        assert got.numpy().dtype == expected.dtype


@pytest.mark.parametrize("dtype", [*INTEGERS, np.bool_])
@pytest.mark.parametrize("axis", [0, 1])
def test_reductions_of_integers_match_numpy(dtype, axis):
    a = np.random.default_rng(0).integers(-50, 50, (300, 3)).astype(dtype)
    x = pf.tensor(a)
    for got, expected in [
        (x.sum(axis), a.sum(axis, dtype=np.int64)),
        (ops.cumsum(x, axis), a.cumsum(axis, dtype=np.int64)),
        (x.max(axis), a.max(axis)),
        (x.min(axis), a.min(axis)),
        (ops.argmax(x, axis), a.argmax(axis)),
        (ops.argmin(x, axis), a.argmin(axis)),
    ]:
        np.testing.assert_array_equal(got.numpy(), expected)
        assert got.numpy().dtype == expected.dtype


def test_comparisons_and_logic_broadcast():
    a, b = np.random.default_rng(0).integers(0, 2, (2, 5, 4)).astype(bool)
    x, y = pf.tensor(a), pf.tensor(b)
    np.testing.assert_array_equal(ops.logical_and(x, y).numpy(), a & b)
    np.testing.assert_array_equal(ops.logical_or(x, pf.tensor(b[0])).numpy(), a | b[0])
    np.testing.assert_array_equal(ops.logical_not(x).numpy(), ~a)
    np.testing.assert_array_equal((pf.tensor(a[:, :1]) < y).numpy(), a[:, :1] < b)


def test_integers_wrap():
    top, bottom = np.iinfo(np.int32).max, np.iinfo(np.int32).min
    x = t([top, bottom], np.int32)
    np.testing.assert_array_equal((x + 1).numpy(), [bottom, bottom + 1])
    np.testing.assert_array_equal((-x).numpy(), [-top, bottom])
    np.testing.assert_array_equal((x // t([-1, -1], np.int32)).numpy(), [-top, bottom])
    np.testing.assert_array_equal((x * 2).numpy(), [-2, 0])


def test_division_by_integer_zero():
    with pytest.raises(ValueError, match="floor_divide: division by zero"):
        t([1, 2], np.int64) // t([1, 0], np.int64)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (
            lambda: t([1.0]) + t([1.0], np.float64),
            "add: expected both operands to be float32, got float32 and float64",
        ),
        (lambda: t([1], np.int64) ** t([3], np.int64), "power: no kernel for int64 on cpu"),
        (
            lambda: t([True], np.bool_) - t([True], np.bool_),
            "subtract: no kernel for bool on cpu",
        ),
        (lambda: ops.silu(t([1], np.int32)), "silu: no kernel for int32 on cpu"),
        (
            lambda: t([1.0]) & t([1.0]),
            r"logical_and: no kernel for float32 on cpu \(there are: bool on cpu\)",
        ),
        (
            lambda: ops.where(t([1.0]), t([1.0]), t([1.0])),
            "where: expected cond to be bool, got float32",
        ),
        (lambda: ops.add(1, 2), "add: expected at least one tensor"),
        (lambda: ops.add(t([1.0]), "text"), "add: expected a tensor or a number, got str"),
        (lambda: ops.gelu(t([1], np.int64)), "gelu: no kernel for int64 on cpu"),
        (lambda: t([1.0]) + "text", "unsupported operand"),
    ],
)
def test_wrong_types(run, message):
    with pytest.raises(TypeError, match=message):
        run()


def test_wrong_shapes_and_numbers():
    with pytest.raises(ValueError, match=r"add: shapes \(2, 3\) and \(4,\) do not broadcast"):
        t(np.ones((2, 3))) + t(np.ones(4))
    with pytest.raises(ValueError, match="does not fit in int32"):
        t([1], np.int32) + 2**40
    with pytest.raises(ValueError, match="does not fit in int64"):
        t([1], np.int64) + 2**70
    with pytest.raises(ValueError, match="gelu: expected approximate"):
        ops.gelu(t([1.0]), approximate="erf")


def test_numbers_take_the_tensors_dtype():
    for dtype in (pf.float32, pf.float64):
        x = pf.ones(3, dtype=dtype)
        for other in (2, 2.5, True, np.float64(2.5), np.float32(2.5), np.int64(2)):
            assert (x + other).dtype == dtype
            assert (other * x).dtype == dtype
    np.testing.assert_array_equal((3 - t([1.0, 2.0])).numpy(), [2, 1])
    assert (t([1], np.int32) + np.int64(5)).dtype == pf.int32


def test_numpy_arrays_keep_the_gradient():
    x = t([1.0, 2.0], requires_grad=True)
    y = np.float32([3.0, 4.0]) * x
    assert isinstance(y, pf.Tensor)
    y.backward(t([1.0, 1.0]))
    np.testing.assert_array_equal(x.grad.numpy(), [3, 4])


def test_equality_is_elementwise_and_hash_is_identity():
    x = t([1.0, 2.0])
    assert (x == 2.0).dtype == pf.bool
    assert {x: 1}[x] == 1
    assert (x == None) is False  # noqa: E711
    assert (x != None) is True  # noqa: E711


def test_ties_share_the_gradient():
    a, b = t([1.0, 2.0, 3.0], requires_grad=True), t([1.0, 5.0, 0.0], requires_grad=True)
    ops.maximum(a, b).backward(t([2.0, 2.0, 2.0]))
    np.testing.assert_array_equal(a.grad.numpy(), [1, 0, 2])
    np.testing.assert_array_equal(b.grad.numpy(), [1, 2, 0])


def test_power_of_zero_has_a_finite_gradient():
    a = t([0.0, 0.0, 2.0], requires_grad=True)
    b = t([0.0, 2.0, 3.0], requires_grad=True)
    (a**b).backward(t([1.0, 1.0, 1.0]))
    np.testing.assert_array_equal(a.grad.numpy(), [0, 0, 12])
    np.testing.assert_allclose(b.grad.numpy(), [0, 0, 8 * np.log(2)], rtol=1e-6)


def test_negative_base_with_whole_exponents():
    x = t([-2.0, -3.0])
    np.testing.assert_array_equal((x**3).numpy(), [-8, -27])
    assert np.isnan((x**0.5).numpy()).all()


def test_where_shields_from_nan():
    a = t([1.0, np.nan], requires_grad=True)
    ops.where(t([True, False], np.bool_), a, 0.0).backward(t([1.0, np.nan]))
    np.testing.assert_array_equal(a.grad.numpy(), [1, 0])


@pytest.mark.parametrize("isa", _core.supported_isas())
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_a_branch_that_where_leaves_out_contributes_nothing(dtype, isa):
    """Its slope may be infinite or NaN: a gradient of 0 stays 0."""
    _core.set_isa(isa)
    nan, inf = np.nan, np.inf
    branches = {
        "exp": (lambda x: ops.exp(x * 1.0), 1e4),
        "log": (ops.log, 0.0),
        "log of minus": (ops.log, -1.0),
        "sqrt": (ops.sqrt, 0.0),
        "sqrt of minus": (ops.sqrt, -2.0),
        "abs": (ops.abs, nan),
        "sin": (ops.sin, inf),
        "cos": (ops.cos, inf),
        "square": (ops.square, inf),
        "tanh": (ops.tanh, nan),
        "sigmoid": (ops.sigmoid, nan),
        "relu": (ops.relu, nan),
        "silu": (ops.silu, nan),
        "gelu": (ops.gelu, nan),
        "gelu tanh": (lambda x: ops.gelu(x, approximate="tanh"), nan),
        "1 / x": (lambda x: 1.0 / x, 0.0),
        "x / 0": (lambda x: x / (x * 0.0), 0.0),
        "times inf": (lambda x: x * ops.exp(x * 1e4), 9.0),
        "power": (lambda x: x**0.5, 0.0),
        "power of minus": (lambda x: x**0.5, -1.0),
        "exponent": (lambda x: ops.power(0.0 * x, x), -1.0),
        "maximum": (lambda x: ops.maximum(x, nan), 1.0),
        "minimum": (lambda x: ops.minimum(x, nan), 1.0),
        "softplus by hand": (lambda x: ops.log(1.0 + ops.exp(x)), 2e4),
    }
    for name, (f, edge) in branches.items():
        x = pf.tensor(np.full(37, edge)).to(dtype)
        x.requires_grad = True
        chosen = pf.tensor(np.zeros(37, bool))
        ops.where(chosen, f(x), x).sum().backward()
        np.testing.assert_array_equal(x.grad.to("float32").numpy(), np.ones(37), err_msg=name)


def test_elu_and_roots_by_where():
    a = t(95.0, requires_grad=True)
    elu = ops.where(a < 0.0, ops.exp(a) - 1.0, a)
    elu.backward()
    assert (elu.item(), a.grad.item()) == (95.0, 1.0)
    b = t([-2.0, 0.0, 9.0], requires_grad=True)
    ops.where(b > 0.0, ops.sqrt(b), 0.0).sum().backward()
    np.testing.assert_allclose(b.grad.numpy(), [0, 0, 1 / 6], rtol=1e-6)


@pytest.mark.parametrize("isa", _core.supported_isas())
def test_losses_that_where_leaves_out(isa):
    _core.set_isa(isa)
    rng = np.random.default_rng(0)
    logits, keep = rng.standard_normal((5, 40)).astype("f"), np.array([True, False, True, False, True])
    logits[1], logits[3] = np.nan, np.inf
    x = t(logits, requires_grad=True)
    losses = ops.cross_entropy(x, pf.tensor([1, 2, 3, 4, 5]), reduction="none")
    ops.where(pf.tensor(keep), losses, 0.0).sum().backward()
    assert np.isfinite(x.grad.numpy()).all()
    assert not x.grad.numpy()[~keep].any()
    x = t(logits, requires_grad=True)
    losses = ops.bce_with_logits(x, t(np.zeros((5, 40))), reduction="none")
    ops.where(pf.tensor(keep[:, None]), losses, 0.0).sum().backward()
    assert np.isfinite(x.grad.numpy()).all()


def test_where_takes_every_dtype():
    cond = t([True, False], np.bool_)
    for dtype in (pf.float64, pf.bfloat16, pf.float16, pf.int64, pf.int32, pf.bool):
        a, b = (ops.cast(t(v), dtype) for v in ([1.0, 1.0], [0.0, 0.0]))
        out = ops.where(cond, a, b)
        assert out.dtype == dtype
        np.testing.assert_array_equal(ops.cast(out, pf.float32).numpy(), [1, 0])


def test_logic():
    a, b = t([True, True, False, False], np.bool_), t([True, False, True, False], np.bool_)
    np.testing.assert_array_equal((a & b).numpy(), [True, False, False, False])
    np.testing.assert_array_equal((a | b).numpy(), [True, True, True, False])
    np.testing.assert_array_equal((~a).numpy(), [False, False, True, True])
    np.testing.assert_array_equal((a == b).numpy(), [True, False, False, True])
    np.testing.assert_array_equal((a & True).numpy(), a.numpy())


def test_backward_over_a_changed_operand_raises():
    x = t([1.0, 2.0], requires_grad=True)
    w = t([3.0, 4.0])
    y = x * w
    w[0] = 9.0
    with pytest.raises(RuntimeError, match="multiply"):
        y.backward(t([1.0, 1.0]))


DTYPES = [pf.float32, pf.float64, pf.bfloat16, pf.float16, pf.int64, pf.int32, pf.bool]


@pytest.mark.parametrize("source", DTYPES)
@pytest.mark.parametrize("target", DTYPES)
def test_cast_of_small_numbers(source, target):
    values = np.array([0, 1, 1, 0] if pf.bool in (source, target) else [0, 1, -3, 100], np.float64)
    x = ops.cast(pf.tensor(values), source)
    y = ops.cast(x, target)
    assert y.dtype == target
    np.testing.assert_array_equal(ops.cast(y, pf.float64).numpy(), values)


def test_cast_rounds_and_saturates():
    x = pf.tensor(np.array([1.9, -1.9, 1e30, -1e30, np.nan, np.inf]))
    for dtype in (np.int64, np.int32):
        limits = np.iinfo(dtype)
        np.testing.assert_array_equal(
            ops.cast(x, getattr(pf, limits.dtype.name)).numpy(),
            [1, -1, limits.max, limits.min, 0, limits.max],
        )
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.standard_normal(4000) * 10.0 ** rng.integers(-9, 6, 4000), [np.inf, -np.inf, 0.0]])
    values = values.astype(np.float32)
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16)
    np.testing.assert_array_equal(ops.cast(pf.tensor(values), pf.float16).numpy(), expected)


def test_cast_gradient():
    x = pf.tensor(np.array([1.0, 2.0]), requires_grad=True)
    ops.cast(ops.cast(x, pf.float32), pf.float64).backward(pf.tensor(np.array([3.0, 4.0])))
    assert x.grad.dtype == pf.float64
    np.testing.assert_array_equal(x.grad.numpy(), [3, 4])
    half = ops.cast(t([1.0, 2.0]), pf.bfloat16)
    half.requires_grad = True
    (ops.cast(half, pf.float32) * 2).backward(t([1.0, 1.0]))
    assert half.grad.dtype == pf.float32


def test_same_bits_for_any_threads():
    rng = np.random.default_rng(0)
    a, b = (
        rng.standard_normal((700, 130)).astype(np.float32),
        rng.standard_normal(130).astype(np.float32),
    )
    threads = pf.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3, 4):
            pf.set_num_threads(count)
            x, w = pf.tensor(a, requires_grad=True), pf.tensor(b, requires_grad=True)
            y = ops.silu(x * w + ops.exp(w))
            y.backward(pf.tensor(a))
            results.append((y.detach().numpy().tobytes(), x.grad.numpy().tobytes(), w.grad.numpy().tobytes()))
    finally:
        pf.set_num_threads(threads)
    assert all(r == results[0] for r in results)


BITS = 1300  # after the binary point: enough for what is left of 2**1024 modulo pi / 2


def arctan_of_inverse(n: int) -> int:
    """arctan(1 / n) in units of 2**-BITS, by its series."""
    power, total, k = (1 << BITS) // n, 0, 1
    while power:
        total += power // k if k % 4 == 1 else -(power // k)
        power, k = power // (n * n), k + 2
    return total


HALF_PI = 8 * arctan_of_inverse(5) - 2 * arctan_of_inverse(239)  # Machin's formula


def exact(function: str, x: float) -> float:
    """sin or cos of x reduced by integers; the C library's own are several ulp off near multiples of pi / 2."""
    numerator, denominator = abs(x).as_integer_ratio()
    angle = (numerator << BITS) // denominator
    turns = (angle + HALF_PI // 2) // HALF_PI
    r = (angle - turns * HALF_PI) / (1 << BITS)
    quarter = (turns + (function == "cos")) % 4
    value = (math.sin(r), math.cos(r), -math.sin(r), -math.cos(r))[quarter]
    return -value if function == "sin" and x < 0 else value


@pytest.mark.parametrize("function", ["sin", "cos"])
@pytest.mark.parametrize(("dtype", "largest"), [("float32", 38.5), ("float64", 308.2)])
def test_sin_and_cos_of_large_angles(function, dtype, largest):
    rng = np.random.default_rng(0)
    x = (10 ** rng.uniform(0, largest, 4001) * rng.choice([-1, 1], 4001)).astype(dtype)
    limits = [2.0**21, 2.0**48, np.nextafter(2.0**48, 0), 6381956970095103 * 2.0**797]
    x[:6] = [*(min(v, float(np.finfo(dtype).max)) for v in limits), np.finfo(dtype).max, -np.finfo(dtype).max]
    expected = np.array([exact(function, v) for v in x.tolist()])
    found = {}
    before = _core.isa()
    for isa in _core.supported_isas():
        _core.set_isa(isa)
        found[isa] = getattr(pf.ops, function)(pf.tensor(x)).numpy()
        nans = getattr(pf.ops, function)(pf.tensor(np.array([np.inf, -np.inf, np.nan], dtype))).numpy()
        assert np.isnan(nans).all()
    _core.set_isa(before)
    assert len({f.tobytes() for f in found.values()}) == 1
    error = np.abs(found["ref"].astype("float64") - expected) / np.spacing(np.abs(expected.astype(dtype)))
    assert error.max() < 2.6, x[error.argmax()]  # 2 ulp and what the comparison itself rounds


@pytest.mark.parametrize("isa", _core.supported_isas())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_abs_of_minus_zero_is_plus_zero(isa, dtype):
    before = _core.isa()
    _core.set_isa(isa)
    try:
        y = pf.ops.abs(pf.tensor(np.array([-0.0, 0.0, -2.0] * 7, dtype))).numpy()
    finally:
        _core.set_isa(before)
    assert not np.signbit(y).any()
    assert y[2] == 2
