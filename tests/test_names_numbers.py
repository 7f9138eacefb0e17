"""Compositions where numbers cancel, overflow, vanish or are not there: against torch's, in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import pyformer as pf
from pyformer import ops

EPS = {"float32": 2**-24, "float64": 2**-53, "bfloat16": 2**-8, "float16": 2**-11}


def near(value, expected, dtype="float32", bound=4):
    """Errs by a few roundings of the dtype, element by element."""
    value = value.detach().to(pf.float64).numpy()
    expected = np.asarray(expected, np.float64)
    same = (value == expected) | (np.isnan(value) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0.0, np.abs(value - expected))
        assert (same | (error <= bound * EPS[dtype] * np.abs(expected))).all(), (value, expected)


def both(function, twin, *arrays, dtype="float32", bound=4, gradients=True):
    """function of arrays of a dtype and its gradients err as roundings of torch's of the same numbers in float64."""
    xs = [pf.tensor(pf.tensor(a).to(dtype), requires_grad=True) for a in arrays]
    ys = [torch.tensor(x.detach().to(pf.float64).numpy(), requires_grad=True) for x in xs]
    out, expected = function(*xs), twin(*ys)
    assert out.dtype == xs[0].dtype
    largest = {"float32": 3.4028234e38, "float16": 65504.0, "bfloat16": 3.39e38, "float64": math.inf}[dtype]
    wanted = expected.detach().numpy()
    near(out, np.where(np.abs(wanted) > largest, np.copysign(np.inf, wanted), wanted), dtype, bound)
    out.backward(pf.ones_like(out))
    expected.backward(torch.ones_like(expected))
    for x, y in zip(xs, ys, strict=True) if gradients else ():
        near(x.grad, y.grad.numpy(), "float32" if dtype in ("bfloat16", "float16") else dtype, bound)


ROWS = np.array([[3.0, -4.0, 0.0], [1.0, 2.0, -2.5]])


@pytest.mark.parametrize("size", [1.0, 1e30, 1e-30, 3e37, 1e-37])
@pytest.mark.parametrize("p", [2, 1, 3, 0.5, math.inf, 7.5])
def test_norms_of_rows_of_any_size(p, size):
    both(lambda x: x.norm(p, 1), lambda x: x.norm(p, 1), ROWS * size, bound=16)
    both(lambda x: x.norm(p), lambda x: x.norm(p), ROWS * size, bound=16)


@pytest.mark.parametrize("size", [1e200, 1e-200, 1e300, 1e-300])
def test_norms_of_float64(size):
    value = pf.tensor(ROWS * size).norm(dim=1)
    near(value, np.sqrt((ROWS**2).sum(1)) * size, "float64", 16)
    x = pf.tensor(ROWS * size, requires_grad=True)
    x.norm(dim=1).sum().backward()
    near(x.grad, ROWS / np.sqrt((ROWS**2).sum(1, keepdims=True)), "float64", 16)
    near(pf.tensor(ROWS * size).std(1, correction=0), ROWS.std(1) * size, "float64", 16)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_norms_are_rounded_once(dtype):
    x = np.random.default_rng(0).standard_normal((3, 400)) * (300 if dtype == "float16" else 1e20)
    for function, twin in (
        (lambda x: x.norm(dim=1), lambda x: x.norm(dim=1)),
        (lambda x: x.std(1), lambda x: x.std(1)),
        (lambda x: x.logsumexp(1), lambda x: x.logsumexp(1)),
        (lambda x: ops.cosine_similarity(x, x * 2), lambda x: torch.nn.functional.cosine_similarity(x, x * 2)),
    ):
        both(function, twin, x, dtype=dtype, bound=2, gradients=False)


@pytest.mark.parametrize("p", [2, 3, 0.5, 1, math.inf])
def test_the_gradient_of_a_norm_at_zero_is_zero(p):
    x = pf.zeros(2, 3, requires_grad=True)
    x.norm(p, 1).sum().backward()
    assert not x.grad.numpy().any()
    x = pf.zeros(4, requires_grad=True)
    (x.std() + x.var() + ops.cosine_similarity(x, x, axis=0)).backward()
    assert not x.grad.numpy().any()
    assert pf.zeros(0).norm(p).item() == 0.0 if p != math.inf else True


@pytest.mark.parametrize("value", [0.1, 1e30, 3e-30, 12345.678, 3e38])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equal_elements_spread_by_nothing(value, dtype):
    x = pf.full((3, 7), value, dtype=dtype)
    assert not x.std(1).numpy().any()
    assert not x.var().numpy().any()


@pytest.mark.parametrize("size", [1.0, 1e30, 1e-30])
@pytest.mark.parametrize("far", [0.0, 1e6])
def test_spread_of_rows_of_any_size(far, size):
    x = (np.random.default_rng(0).standard_normal((4, 33)) + far) * size
    both(lambda x: x.std(1), lambda x: x.std(1), x, bound=64)
    both(lambda x: x.std((0, 1), correction=0), lambda x: x.std((0, 1), correction=0), x, bound=64)
    if size == 1.0:
        both(lambda x: x.var(1), lambda x: x.var(1), x, bound=64)
        both(lambda x: x.var(0, keepdims=True), lambda x: x.var(0, keepdim=True), x, bound=64)


@pytest.mark.parametrize("size", [1.0, 1e25, 1e-6])
def test_cosine_similarity_of_any_size(size):
    a, b = np.random.default_rng(0).standard_normal((2, 5, 8))
    twin = torch.nn.functional.cosine_similarity
    both(ops.cosine_similarity, twin, a * size, b * size, bound=64)
    both(lambda a, b: ops.cosine_similarity(a, b, axis=0), lambda a, b: twin(a, b, 0), a, b * size, bound=64)


def test_logsumexp_of_what_is_not_there():
    x = np.array([[-np.inf, -np.inf], [0.0, -np.inf], [88.0, 89.5], [-1e4, -1e4 - 3]])
    both(lambda x: x.logsumexp(1), lambda x: x.logsumexp(1), x, bound=8, gradients=False)
    leaf = pf.tensor(x, dtype=pf.float32, requires_grad=True)
    leaf.logsumexp(1).sum().backward()
    near(leaf.grad, np.array([[0, 0], [1, 0], *torch.tensor(x[2:]).softmax(1).numpy()]), bound=8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_elu_and_softplus_do_not_cancel(dtype):
    x = np.array([-1e-8, -1e-4, -0.3, -0.99, -1.01, -20.0, -1e30, 0.5, 1e30])
    both(lambda x: ops.elu(x, 1.5), lambda x: torch.nn.functional.elu(x, 1.5), x, dtype=dtype, bound=16)
    x = np.array([-30.0, -1e-8, 0.0, 1e-8, 3.0, 90.0])
    both(ops.softplus, lambda x: torch.logaddexp(x, torch.zeros(())), x, dtype=dtype, bound=16)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_remainders_are_those_of_exact_quotients(dtype):
    rng = np.random.default_rng(0)
    a = np.concatenate([rng.standard_normal(200) * 50, np.arange(-20, 20) * 0.1, [1.0, 0.3, -1e-30, 1e10, 5.0, -5.0]])
    b = np.concatenate([rng.standard_normal(200), np.full(40, 0.1), [0.1, 0.1, 1.0, 3.0, np.inf, np.inf]])
    x, y = torch.tensor(a.astype(dtype)), torch.tensor(b.astype(dtype))
    p, q = pf.tensor(x.numpy()), pf.tensor(y.numpy())
    np.testing.assert_array_equal((p // q).numpy(), np.floor_divide(x.numpy(), y.numpy()))
    rest = (p % q).numpy()
    assert ((rest == 0) | (np.sign(rest) == np.sign(y.numpy()))).all()
    expected = np.remainder(x.numpy().astype(np.float64), y.numpy().astype(np.float64))
    with np.errstate(invalid="ignore"):
        error = np.where(rest == expected, 0, np.abs(rest - expected))
    assert (error <= EPS[dtype] * np.maximum(np.abs(x.numpy()), np.abs(rest))).all()
    assert (pf.tensor([1.0]) // 0.1).item() == 9.0
    for odd in ([0.0, 0.0], [5.0, 0.0], [np.inf, 2.0], [5.0, np.nan]):
        assert math.isnan((pf.tensor(odd[:1]) % pf.tensor(odd[1:])).item()), odd


LOSSES = [
    lambda x, y: ops.l1_loss(x, y),
    lambda x, y: ops.huber_loss(x, y),
    lambda x, y: ops.smooth_l1_loss(x, y),
    lambda x, y: ops.kl_div(x, y),
    lambda x, y: ops.kl_div(x, y, "batchmean"),
    lambda x, y: ops.mse_loss(x, y),
    lambda x, y: ops.nll_loss(x, pf.zeros(0, dtype="int64")),
    lambda x, y: ops.nll_loss(x, pf.zeros(0, dtype="int64"), weight=pf.ones(3)),
    lambda x, y: ops.cross_entropy(x, pf.zeros(0, dtype="int64"), weight=pf.ones(3)),
]


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_of_no_rows_are_zero(loss):
    x = pf.zeros(0, 3, requires_grad=True)
    out = loss(x, pf.zeros(0, 3))
    out.backward()
    assert (out.item(), x.grad.shape) == (0.0, (0, 3))


@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 0.5], [0.0, 0.0, 0.0]])
@pytest.mark.parametrize("bad", [-math.inf, math.inf, math.nan])
@pytest.mark.parametrize("loss", [ops.nll_loss, ops.cross_entropy])
def test_ignored_rows_may_hold_anything(loss, bad, weight):
    weight = None if weight is None else pf.tensor(weight)
    for targets in ([-100, 2], [-100, -100]):
        values = np.array([[bad] * 3, [-1.0, -2.0, -0.5]], np.float32)
        results = []
        for kept in (slice(None), slice(1, None)):
            x = pf.tensor(values[kept], requires_grad=True)
            for reduction in ("mean", "sum"):
                out = loss(x, targets[kept], reduction=reduction, weight=weight)
                out.backward()
                results.append(out.item())
            assert np.isfinite(x.grad.numpy()).all()
            results.append(x.grad.numpy()[-1].tolist())
        assert results[:3] == results[3:]
        assert np.isfinite(results[0])
        if targets == [-100, -100]:
            assert results[:3] == [0.0, 0.0, [0.0] * 3]


def test_losses_of_infinities_have_the_gradients_of_their_slope():
    x = pf.tensor([math.inf, -math.inf, 3e30, 0.5], requires_grad=True)
    ops.huber_loss(x, pf.zeros(4), "sum", delta=2.0).backward()
    assert x.grad.tolist() == [2.0, -2.0, 2.0, 0.5]
    x, y = pf.tensor([-math.inf, -1.0], requires_grad=True), pf.tensor([0.0, 1.0], requires_grad=True)
    out = ops.kl_div(x, y, "sum")
    out.backward()
    assert (out.item(), x.grad.tolist(), y.grad.tolist()) == (1.0, [0.0, -1.0], [0.0, 2.0])


def test_small_chances_of_16_bits_are_drawn():
    """Running sums of bfloat16 would end at 256 ones."""
    pf.manual_seed(0)
    p = pf.ones(1000, dtype=pf.bfloat16)
    drawn = pf.multinomial(p, 4000, replacement=True).numpy()
    assert np.unique(drawn).size > 900
    assert 0 < pf.bernoulli(pf.full((200_000,), 1e-3, dtype=pf.bfloat16)).to(pf.float32).sum().item() < 400


ZEROS = np.array([-0.3, -0.0, 0.0, 0.3, -0.5, 0.5, -1.0, 1.0, -1.5, 2.5, -math.inf, math.inf, math.nan, -1e-30])


def same_signs(value, expected):
    np.testing.assert_array_equal(value, expected)
    np.testing.assert_array_equal(np.signbit(value) | np.isnan(value), np.signbit(expected) | np.isnan(expected))


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_whole_numbers_keep_the_sign_of_zero(dtype):
    x = pf.tensor(ZEROS, dtype=dtype)
    for name in ("trunc", "ceil", "floor", "round", "negative", "abs"):
        expected = getattr(torch, name)(torch.tensor(ZEROS, dtype=getattr(torch, dtype)))
        same_signs(getattr(pf, name)(x).to("float64").numpy(), expected.double().numpy())
    with pf.autocast("bfloat16"):
        same_signs(pf.round(x).to("float64").numpy(), torch.round(torch.tensor(x.to("float64").numpy())).numpy())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["floor_divide", "remainder", "maximum", "minimum"])
def test_results_that_are_zero_have_numpys_sign(name, dtype):
    values = ZEROS[np.round(ZEROS * 2) == ZEROS * 2] if name == "remainder" else ZEROS
    a, b = (v.ravel().astype(dtype) for v in np.meshgrid(values, values))
    a, b = (a, b) if name in ("maximum", "minimum") else (a[b != 0], b[b != 0])
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(a, b)
    value = getattr(pf, name)(pf.tensor(a), pf.tensor(b)).numpy()
    same_signs(value, expected)


def test_the_gradient_of_a_remainder_of_zero_stays():
    x = pf.tensor([4.0, -4.0, 5.0], requires_grad=True)
    (x % pf.tensor([2.0, -2.0, -2.0])).sum().backward()
    assert x.grad.numpy().tolist() == [1.0, 1.0, 1.0]


def test_elu_has_torchs_gradient_at_0():
    for alpha in (1.0, 2.0):
        x, t = pf.tensor([0.0, -0.0, 1e-20, -1e-20], requires_grad=True), torch.tensor([0.0, -0.0, 1e-20, -1e-20])
        ops.elu(x, alpha).sum().backward()
        t.requires_grad_()
        torch.nn.functional.elu(t, alpha).sum().backward()
        np.testing.assert_array_equal(x.grad.numpy(), t.grad.numpy())


@pytest.mark.parametrize("bad", [np.nan, -0.5, -np.inf])
def test_targets_that_are_no_probabilities_make_kl_div_nan(bad):
    x, target = [[-1.0, -1.0]], [[bad, 0.5]]
    theirs = torch.nn.functional.kl_div(torch.tensor(x), torch.tensor(target), reduction="sum")
    assert np.isnan(theirs.item())
    assert np.isnan(ops.kl_div(pf.tensor(x), pf.tensor(target), "sum").item())
    x = pf.tensor([[np.nan, -np.inf, -1.0]], requires_grad=True)
    loss = ops.kl_div(x, pf.tensor([[0.0, 0.0, 1.0]]), "sum")
    loss.backward()
    assert loss.item() == 1.0
    assert x.grad.tolist() == [[0.0, 0.0, -1.0]]


def test_weights_that_can_not_be_drawn_from_are_refused():
    pf.manual_seed(0)
    for replacement in (False, True):
        big = pf.tensor([[3e38, 3e38, 3e38]] * 3000)
        counts = np.bincount(pf.multinomial(big, 1, replacement).numpy()[:, 0], minlength=3)
        assert counts.min() > 900
        for weights in ([1.0, np.nan], [1.0, -1.0], [1.0, np.inf]):
            with pytest.raises(ValueError, match="multinomial: weights must be finite and 0 or above"):
                pf.multinomial(pf.tensor(weights), 1, replacement)
        with pytest.raises(ValueError, match="multinomial: expected 1 weights above 0 a row, got 0"):
            pf.multinomial(pf.tensor([[1.0, 0.0], [0.0, 0.0]]), 1, replacement)
    with pytest.raises(ValueError, match="multinomial: expected 2 weights above 0 a row, got 1"):
        pf.multinomial(pf.tensor([0.0, 1.0, 0.0]), 2)
    assert pf.multinomial(pf.tensor([0.0, 1.0, 0.0]), 2, replacement=True).tolist() == [1, 1]
    for p in (1.5, np.nan, -0.5):
        with pytest.raises(ValueError, match=r"bernoulli: p must be in \[0, 1\]"):
            pf.bernoulli(pf.tensor([0.5, p]))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_products_do_not_overflow_in_the_middle(dtype):
    large = 1e30 if dtype != "float16" else 256.0
    for values in ([large, 1 / large] * 4, [1 / large, large, 1 / large, large, 3.0]):
        x = pf.tensor(values, dtype=dtype, requires_grad=True)
        out = pf.prod(x)
        out.backward()
        exact = np.array(x.detach().to("float64").numpy())
        assert out.dtype == x.dtype
        np.testing.assert_allclose(out.item(), exact.prod(), rtol=0.01)
        np.testing.assert_allclose(x.grad.to("float64").numpy(), exact.prod() / exact, rtol=0.01)
