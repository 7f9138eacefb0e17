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


SMALL = [0.0, -0.0, 2e-37, -1e-30, 1e-20, 1e-16, -1.1e-16, 3e-16, 1e-12, -1e-8, 1.3e-5, 1e-3, -0.07, 0.3, 0.4999, 0.51]
LARGE = [-0.9, 1.0, -2.5, 3.7, -5.8, 6.2, 9.0, -20.0, 88.0, 300.0]


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("name", ["log1p", "expm1", "erf"])
def test_functions_near_zero_and_far_from_it_are_right_to_the_last_digits(name, dtype):
    numbers = SMALL + [x for x in LARGE if name != "log1p" or x > -1]
    x = pf.tensor(pf.tensor(np.array(numbers)).to(dtype), requires_grad=True)
    exact = [float(v) for v in x.detach().to(pf.float64).numpy()]
    value = getattr(x, name)()
    assert value.dtype == x.dtype
    largest = {"float32": 3.4028234e38, "float16": 65504.0, "bfloat16": 3.39e38, "float64": math.inf}[dtype]
    wanted = [getattr(math, name)(v) for v in exact]
    near(value, [w if w <= largest else math.inf for w in wanted], dtype, 4 if dtype == "float64" else 1.01)
    assert np.signbit(value.detach().to(pf.float64).numpy()[1])  # -0 stays -0
    value.backward(pf.ones_like(value))
    slope = {
        "log1p": lambda v: 1 / (1 + v),
        "expm1": lambda v: math.exp(v),
        "erf": lambda v: 2 / math.sqrt(math.pi) * math.exp(-v * v),
    }[name]
    tiny = {"float32": 2**-149, "float16": 2**-24, "bfloat16": 2**-133, "float64": 0.0}[dtype]
    slopes = np.array([s if (s := slope(v)) <= largest else math.inf for v in exact])
    got = x.grad.detach().to(pf.float64).numpy()
    bound = 4 * EPS["float64" if dtype == "float64" else dtype]
    with np.errstate(invalid="ignore"):
        ok = (got == slopes) | (np.abs(got - slopes) <= tiny + bound * slopes)
    assert ok.all(), (got, slopes)


@pytest.mark.parametrize(
    ("name", "edges", "wanted"),
    [
        ("log1p", [-1.0, -2.0, math.inf, math.nan, 3e38], [-math.inf, math.nan, math.inf, math.nan, 88.59684822]),
        ("expm1", [-math.inf, math.inf, math.nan, -200.0, 200.0], [-1.0, math.inf, math.nan, -1.0, math.inf]),
        ("erf", [-math.inf, math.inf, math.nan, -4.5, 1e30], [-1.0, 1.0, math.nan, -1.0, 1.0]),
    ],
)
def test_edges_of_functions_are_torchs(name, edges, wanted):
    x, y = pf.tensor(edges, requires_grad=True), torch.tensor(edges, requires_grad=True)
    value, expected = getattr(x, name)(), getattr(y, name)()
    np.testing.assert_allclose(value.detach().numpy(), wanted, rtol=1e-6)
    np.testing.assert_allclose(value.detach().numpy(), expected.detach().numpy(), rtol=1e-6)
    value.backward(pf.ones_like(value))
    expected.backward(torch.ones_like(expected))
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-6)


def test_scatter_of_integers_numbers_and_meeting_places():
    x = np.arange(12).reshape(3, 4)
    index = np.array([[3, 1, 3], [0, 0, 0]])
    source = np.array([[10, 20, 30], [1, 2, 3]])
    for method in ("scatter_add", "scatter_add_"):
        got = getattr(pf.tensor(x), method)(1, pf.tensor(index), pf.tensor(source))
        np.testing.assert_array_equal(got.numpy(), torch.tensor(x).scatter_add(1, *map(torch.tensor, (index, source))))
    got = pf.tensor(x).scatter(dim=1, index=pf.tensor(index), src=pf.tensor(source))
    np.testing.assert_array_equal(got.numpy(), [[0, 20, 2, 30], [3, 5, 6, 7], [8, 9, 10, 11]])
    got = pf.zeros(3, 4).scatter_(1, pf.tensor(index), 7)
    np.testing.assert_array_equal(got.numpy(), torch.zeros(3, 4).scatter_(1, torch.tensor(index), 7))
    mask = pf.zeros(4, dtype=pf.bool).scatter(0, pf.tensor([2]), True)
    assert mask.tolist() == [False, False, True, False]
    # Of elements that meet, the last is there, and has the gradient.
    src = pf.tensor([1.0, 2.0, 3.0], requires_grad=True)
    start = pf.zeros(3, requires_grad=True)
    out = start.scatter(0, pf.tensor([1, 2, 1]), src)
    (out * pf.tensor([5.0, 6.0, 7.0])).sum().backward()
    assert (out.tolist(), src.grad.tolist(), start.grad.tolist()) == ([0, 3, 2], [0, 7, 6], [5, 0, 0])
    with pytest.raises(IndexError, match="must be within"):
        pf.zeros(3).scatter(0, pf.tensor([3]), 1)
    with pytest.raises(ValueError, match=r"scatter: index \(4,\) is larger than src \(2,\)"):
        pf.zeros(5).scatter(0, pf.tensor([0, 1, 2, 3]), pf.ones(2))
    with pytest.raises(TypeError, match="scatter_add: src must be float32"):
        pf.zeros(5).scatter_add(0, pf.tensor([0]), pf.ones(1, dtype=pf.float64))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_sums_of_what_meets_are_rounded_once(dtype):
    x = pf.full((1,), 1.0).to(dtype)
    source = pf.full((300,), 2.0**-9).to(dtype)
    got = x.scatter_add(0, pf.zeros(300, dtype=pf.int64), source)
    assert got.item() == pf.tensor(1.0 + 300 * 2.0**-9).to(dtype).item()


def test_a_long_sum_of_what_meets_does_not_saturate():
    source = np.ones(301, np.float32)
    source[0] = 2.0**24
    index = pf.zeros(301, dtype=pf.int64)
    x, src = pf.zeros(1, requires_grad=True), pf.tensor(source, requires_grad=True)
    out = x.scatter_add(0, index, src)
    assert (out.dtype, out.item()) == (pf.float32, 2.0**24 + 300)
    out.sum().backward()
    assert (x.grad.tolist(), src.grad.tolist()) == ([1.0], [1.0] * 301)
    overflowing = pf.tensor([3e38, 3e38, -3e38])
    assert pf.zeros(1).scatter_add(0, pf.zeros(3, dtype=pf.int64), overflowing).item() == np.float32(3e38)
    with pf.autocast(pf.bfloat16):
        assert pf.zeros(1).scatter_add(0, index, src).dtype == pf.float32


def test_distances_that_are_small_beside_the_vectors():
    a = np.array([[1e4, 1.0], [1e4, 1.0]], np.float32)
    b = np.array([[1e4, 1.0], [1e4, 1.0 + 2**-20]], np.float32)
    x = pf.tensor(a, requires_grad=True)
    distances = pf.cdist(x, pf.tensor(b))
    assert distances.tolist() == [[0.0, 2**-20]] * 2
    distances.sum().backward()
    assert x.grad.tolist() == [[0.0, -1.0]] * 2


@pytest.mark.parametrize(("old", "new"), [(7, 3), (3, 7), (1, 5), (5, 1), (4, 8), (8, 4)])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "linear"])
def test_signals_in_another_size_are_torchs(old, new, mode):
    x = np.random.default_rng(old).standard_normal((2, 3, old))
    for options in ({"size": new}, {"scale_factor": new / old}):
        for corners in [None] if mode.startswith("nearest") else [None, False, True]:
            words = {**options, "mode": mode, "align_corners": corners}
            got = ops.interpolate(pf.tensor(x), **words)
            wanted = torch.nn.functional.interpolate(torch.tensor(x), **words)
            np.testing.assert_allclose(got.numpy(), wanted.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"size": 4, "mode": "cubic"}, ValueError, "interpolate: mode must be one of nearest"),
        ({"size": 4, "mode": "bilinear"}, ValueError, r"bilinear takes \(N, C, H, W\), got \(1, 2, 3\)"),
        ({}, ValueError, "expected either size or scale_factor"),
        ({"size": 4, "scale_factor": 2}, ValueError, "expected either size or scale_factor"),
        ({"size": (4, 4)}, ValueError, "size must be one number or 1, got 2"),
        ({"size": 0}, ValueError, "expected sizes of at least 1"),
        ({"size": 4, "align_corners": True}, ValueError, "align_corners goes with"),
    ],
)
def test_sizes_that_do_not_fit(options, error, message):
    with pytest.raises(error, match=message):
        ops.interpolate(pf.zeros(1, 2, 3), **options)
    with pytest.raises(TypeError, match="expected a float tensor"):
        ops.interpolate(pf.zeros(1, 2, 3, dtype=pf.int64), size=2)


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


@pytest.mark.parametrize("scale", [1e-39, 1e-38, 1.0, 1e30])
def test_multinomial_draws_small_weights_in_proportion_and_none_of_0(scale):
    pf.manual_seed(3)
    weights = np.tile(np.array([0, 1, 3, 0], np.float32) * np.float32(scale), (2000, 1))
    drawn = pf.multinomial(pf.tensor(weights), 1).numpy().ravel()
    assert set(drawn.tolist()) == {1, 2}
    assert 0.70 < (drawn == 2).mean() < 0.80
    both = pf.multinomial(pf.tensor(np.array([1, 0, 1e-39], np.float32)), 2)
    assert sorted(both.tolist()) == [0, 2]


def test_one_hot_makes_no_table_of_classes_by_classes():
    classes = 1 << 20  # of which a matrix would have 8 TB
    found = ops.one_hot(pf.tensor([[3], [classes - 1]]), classes)
    assert (found.shape, found.dtype) == ((2, 1, classes), pf.int64)
    assert [found.sum().item(), found[0, 0, 3].item(), found[1, 0, -1].item()] == [2, 1, 1]
    for wrong in (-1, 4):
        with pytest.raises(IndexError, match="embedding"):
            ops.one_hot(pf.tensor([wrong]), 4)


@pytest.mark.parametrize(
    ("mode", "shape"), [("linear", (1, 1, 4)), ("bilinear", (1, 1, 2, 4)), ("bicubic", (1, 1, 2, 4))]
)
@pytest.mark.parametrize("align_corners", [True, False])
def test_what_interpolate_gives_no_weight_contributes_no_nan(mode, shape, align_corners):
    x = np.ones(shape, np.float32)
    x[..., 1] = np.inf
    leaf = pf.tensor(x, requires_grad=True)
    out = ops.interpolate(leaf, size=shape[2:], mode=mode, align_corners=align_corners)
    np.testing.assert_array_equal(out.detach().numpy(), x)
    out.backward(pf.tensor(x))
    np.testing.assert_array_equal(leaf.grad.numpy(), x)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_rows_whose_norm_overflows_are_normalised(dtype):
    largest = {"float16": 6e4, "bfloat16": 3e38, "float32": 3e38}[dtype]
    rows = np.array([[largest] * 4, [-largest, 0.0, largest, largest]])
    for p in (1, 2, 3):
        both(
            lambda x, p=p: ops.normalize(x, p, 1),
            lambda x, p=p: torch.nn.functional.normalize(x, p, 1),
            *(rows,),
            dtype=dtype,
            bound=8,
            gradients=False,
        )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_a_slope_of_0_gives_0(dtype):
    x = pf.tensor([-np.inf, -2.0, 0.0, 3.0, np.inf, np.nan], dtype=dtype, requires_grad=True)
    out = ops.leaky_relu(x, 0.0)
    out.backward(pf.ones_like(out))
    near(out, [0.0, 0.0, 0.0, 3.0, np.inf, np.nan], dtype)
    near(x.grad[:-1], [0.0, 0.0, 0.0, 1.0, 1.0], dtype)


REFUSED = {"x is no Tensor": 3.0, "x is not a float tensor": pf.tensor([[1, 2], [3, 4]])}
CLAIMS = [
    (name, said)
    for name in dir(ops)
    for said in REFUSED
    if f"TypeError: {said}." in (getattr(ops, name).__doc__ or "") and name != "interpolate"  # which needs a size
]


@pytest.mark.parametrize(("name", "said"), CLAIMS)
def test_what_a_docstring_says_of_types_is_refused(name, said):
    with pytest.raises(TypeError):
        getattr(ops, name)(REFUSED[said])


@pytest.mark.parametrize("slope", [0.0, 0.5])
def test_a_slope_takes_integers(slope):
    assert ops.leaky_relu(pf.tensor([2, -2]), slope).tolist() == [2.0, -2.0 * slope]
