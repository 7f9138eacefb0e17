"""Operands that change behind an op's back, interrupts at bad moments, sizes that are all edge."""

from __future__ import annotations

import _thread
import copy
import ctypes
import ctypes.util
import decimal
import math
import pickle
import platform
import signal
import time
import warnings

import numpy as np
import pytest

import pyformer as pf
from pyformer import _core, nn, ops, optim
from pyformer.optim.optimizer import count_step


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
    assert optimizer.state[p]["step"] == (2 if writes else 1)


def test_interrupt_after_the_update_keeps_its_count():
    states = [{"step": 3}]
    with pytest.raises(KeyboardInterrupt):
        count_step(states, _thread.interrupt_main)  # returns, with a signal waiting for Python
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
    with pytest.raises(MemoryError, match="split"):
        ops.split(pf.zeros(2**40, 0), 2)


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
        for value in (eps, 10**400):
            with pytest.raises(ValueError, match="eps"):
                make(4, eps=value)
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
        (lambda p: optim.SGD([p.detach().to(pf.bfloat16)]), ValueError),
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


def running_sums(x, first=256):
    """Along the first axis: chains of 256, the first of `first`, and sums of the chains before that meet as a binary
    counter's bits do."""
    out, levels = np.empty_like(x), []
    starts = [0, *range(first, len(x), 256)]
    for chain, (start, end) in enumerate(zip(starts, [*starts[1:], len(x)], strict=True)):
        part = np.cumsum(x[start:end], axis=0)
        base = None
        for level in levels:
            if level is not None:
                base = level if base is None else level + base
        out[start:end] = part if base is None else base + part
        total, level = part[-1], 0
        while chain >> level & 1:
            total, levels[level] = levels[level] + total, None
            level += 1
        levels += [None] * (level + 1 - len(levels))
        levels[level] = total
    return out


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("shape", [(300_001,), (1, 70_000, 2), (3, 256, 37), (3, 700, 1500), (270, 1025), (513, 16)])
def test_cumsum_adds_chains_and_a_tree(dtype, shape):
    x = (np.random.default_rng(0).standard_normal(shape) * 10).astype(dtype)
    dout = np.random.default_rng(1).standard_normal(shape).astype(dtype)
    for axis in range(len(shape)):
        want = np.moveaxis(running_sums(np.moveaxis(x, axis, 0)), 0, axis)
        for isa in _core.supported_isas():
            _core.set_isa(isa)
            np.testing.assert_array_equal(pf.tensor(x).cumsum(axis).numpy(), want)
        if dtype == "int64":
            np.testing.assert_array_equal(want, np.cumsum(x, axis=axis))
            continue
        # Chains of the gradient are those of x, each from its end.
        back = running_sums(np.flip(np.moveaxis(dout, axis, 0), 0), shape[axis] % 256 or 256)
        wanted = np.moveaxis(np.flip(back, 0), 0, axis)
        leaf = pf.tensor(x, requires_grad=True)
        _core.backward_many([leaf.cumsum(axis)], [pf.tensor(dout)])
        np.testing.assert_array_equal(leaf.grad.numpy(), wanted)


def test_cumsum_is_as_exact_as_sum():
    ones = pf.tensor(np.ones(2**24 + 100, np.float32), requires_grad=True)
    running = ones.cumsum(0)
    assert running[-1].item() == ones.sum().item() == 2**24 + 100
    running.sum().backward()
    assert ones.grad[0].item() == 2**24 + 100
    for shape, axis in (((2_000_000,), 0), ((1_000_000, 2), 0), ((2, 1_000_000), 1)):
        small = np.full(shape, 0.001, np.float32)
        last = np.take(pf.tensor(small).cumsum(axis).numpy(), -1, axis)
        exact = float(np.float32(0.001)) * shape[axis]
        np.testing.assert_allclose(last, exact, rtol=2e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: _core.PackedLinear.__new__(_core.PackedLinear),
        lambda: type("Derived", (_core.PackedLinear,), {"__init__": lambda self: None})(),
        lambda: type("Derived", (_core.PackedLinear,), {"__init__": lambda self: None}).__new__(_core.PackedLinear),
        lambda: pf.DType.__new__(pf.DType),
        lambda: pf.Tensor.__new__(pf.Tensor),
        lambda: object.__new__(_core.PackedLinear),
    ],
)
def test_no_bound_class_makes_an_object_that_holds_nothing(make):
    with pytest.raises(TypeError):
        make()


def test_packed_linear_and_dtypes_are_made_and_copied_as_before():
    packed = _core.PackedLinear(pf.ones(3, 2), bias=pf.ones(3))
    assert packed(pf.ones(1, 2)).numpy().tolist() == [[3.0, 3.0, 3.0]]
    assert type("Derived", (_core.PackedLinear,), {})(pf.ones(3, 2))(pf.ones(1, 2)).shape == (1, 3)
    for dtype in (pf.DType(1), *pf.DType.__members__.values()):
        assert copy.deepcopy(dtype) == pickle.loads(pickle.dumps(dtype)) == dtype


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (
            lambda x: ops.matmul([1.0], x),
            r"matmul: expected \(a: Tensor, b: Tensor, .*got \[float\], Tensor float32 \(3,\)",
        ),
        (
            lambda x: ops.matmul(x, np.ones(3)),
            r"matmul: expected .*got Tensor float32 \(3,\), ndarray float64 \(3,\); ",
        ),
        (lambda x: ops.softmax(None), r"^softmax: expected \(x: Tensor, axis: int = -1\), got None$"),
        (lambda x: ops.softmax(x, wrong=1), r"softmax: expected .*wrong=1"),
        (lambda x: ops.layer_norm(np.ones(3)), r"layer_norm: expected \(x: Tensor"),
        (lambda x: ops.concat([x, None]), r"concat: expected \(xs: "),
        (lambda x: ops.gelu(x.numpy()), r"gelu: expected \(x: Tensor"),
        (lambda x: x.sum("a"), r"sum: expected "),
        (lambda x: _core.zero_(3), r"zero_: expected \(tensor: Tensor\) or \(tensors: "),
        (lambda x: _core.PackedLinear(None), r"PackedLinear: expected \(weight: Tensor"),
        (lambda x: ops.exp(list(range(10_000))), r"^exp: expected .{1,400}$"),
    ],
)
def test_arguments_that_are_no_tensors_are_named(call, expected):
    with pytest.raises(TypeError, match=expected) as raised:
        call(pf.ones(3))
    assert "incompatible" not in str(raised.value)
    assert "_core" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_error_text_of_pybind11_is_the_one_that_the_bindings_rewrite():
    calls = {
        "softmax: expected (x: Tensor, axis: int = -1), got None": lambda: ops.softmax(None),
        "exp: expected (self: Tensor), got 3": lambda: pf.Tensor.exp(3),
        "PackedLinear: expected (weight: Tensor, bias: Tensor | None = None), got None": lambda: _core.PackedLinear(
            None
        ),
        "zero_: expected (tensor: Tensor) or (tensors: Sequence[Tensor]), got 3": lambda: _core.zero_(3),
        "topk: expected (x: Tensor, k: int, axis: int = -1), got k=1": lambda: _core.ops.topk(k=1),
    }
    for expected, call in calls.items():
        with pytest.raises(TypeError) as raised:
            call()
        assert str(raised.value) == expected, (
            "pybind11's text for wrong arguments has changed: fit explain_arguments() in csrc/bindings/module.cpp to "
            "it, and the bounds of pybind11 in pyproject.toml"
        )


@pytest.mark.parametrize("scalar", [np.longdouble(2), np.float16(2), np.int8(2), np.uint64(2)])
def test_numpy_numbers_take_the_dtype_of_the_tensor(scalar):
    x = pf.ones(3, requires_grad=True)
    for result in (x * scalar, scalar * x, ops.multiply(scalar, x), ops.where(pf.tensor([True]), scalar, x) * x):
        assert (result.dtype, result.requires_grad) == (pf.float32, True)
        assert result.detach().numpy().tolist() == [2.0] * 3


@pytest.mark.parametrize(
    "foreign",
    [np.clongdouble(1), np.complex64(1), np.datetime64("2020"), np.timedelta64(5, "ns"), np.void(b"abc"), np.str_("1")],
)
def test_numpy_scalars_that_are_no_numbers_are_refused(foreign):
    x = pf.ones(3)
    for call in (lambda: x + foreign, lambda: ops.add(x, foreign), lambda: x * foreign, lambda: x == foreign):
        with pytest.raises(TypeError, match="expected a tensor or a number, got numpy"):
            call()


@pytest.mark.parametrize("number", [10**400, -(10**5000)], ids=["400-digits", "5000-digits"])
@pytest.mark.parametrize("x", [pf.ones(3), pf.ones(3, dtype=pf.int32)])
def test_numbers_too_large_for_a_dtype_are_named(x, number):
    with pytest.raises(ValueError, match=r"^add: .* does not fit in"):
        x + number


@pytest.mark.parametrize("half", [np.float32(1.5), np.float16(1.5), decimal.Decimal("1.5"), pf.tensor(1.5), 1.5, "1"])
def test_what_is_no_integer_is_not_cut_to_one(half):
    x = pf.ones(2, 3)
    q = pf.ones(1, 2, 1, 2)
    for call in (
        lambda: ops.softmax(x, half),
        lambda: ops.topk(x, half),
        lambda: ops.sum(x, half),
        lambda: x.mean((half,)),
        lambda: ops.reshape(x, [half, 6]),
        lambda: x.transpose(half, 0),
        lambda: ops.attention(q, q, q, window=half),
        lambda: ops.conv1d(pf.ones(1, 1, 3), pf.ones(1, 1, 1), stride=half),
        lambda: ops.pad(x, [(half, 0), (0, 0)]),
        lambda: ops.cross_entropy(x, pf.tensor([0, 0]), ignore_index=half),
        lambda: pf.manual_seed(half),
        lambda: pf.set_num_threads(half),
    ):
        with pytest.raises(TypeError, match="expected"):
            call()


def test_seeds_out_of_range_are_named():
    for seed in (-1, 2**64, 10**5000):
        with pytest.raises(ValueError, match="manual_seed: expected a seed from 0 to"):
            pf.manual_seed(seed)


@pytest.mark.parametrize("x", [pf.ones(()), pf.zeros(2**50, 0), np.ones(())])
def test_lists_that_cannot_be_read_are_named(x):
    for name, call in (
        ("reshape", lambda: ops.reshape(pf.ones(2), x)),
        ("sum", lambda: pf.ones(2).sum(x)),
        ("transpose", lambda: ops.transpose(pf.ones(2), x)),
        ("concat", lambda: ops.concat(x)),
    ):
        with pytest.raises(TypeError, match=f"^{name}: expected"):
            call()


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
LONG = {"rope_type": "longrope", "factor": 2.0}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"base": None}, "base must be a number"),
        ({"base": pf.ones(2)}, "base must be a number"),
        ({"scaling": "linear"}, "scaling must be a mapping"),
        ({"scaling": [1]}, "scaling must be a mapping"),
        ({"dim": 4.0}, "dim must be an even number"),
        ({"base": 10**400}, "base must be above 0 and finite"),
        ({"base": math.nan}, "base must be above 0 and finite"),
        ({"scaling": {"rope_type": "linear", "factor": 10**400}}, "linear needs finite numbers"),
        ({"scaling": {"rope_type": "linear", "factor": math.inf}}, "linear needs finite numbers"),
        ({"scaling": LLAMA3 | {"high_freq_factor": 1.0}}, "low_freq_factor must be below"),
        ({"scaling": YARN | {"beta_fast": 1e308}}, "yarn can't turn 1e.308 times within 64.0 tokens"),
        ({"scaling": YARN | {"beta_slow": 1e-320, "original_max_position_embeddings": 1e308}}, "yarn can't turn"),
    ],
)
def test_rope_frequencies_names_what_it_cannot_read(arguments, expected):
    with pytest.raises((TypeError, ValueError), match=f"^rope_frequencies: {expected}"):
        ops.rope_frequencies(**{"dim": 4, **arguments})


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        (LONG | {"original_max_position_embeddings": 1}, "longrope needs an original length above 1, got 1.0"),
        (LONG | {"original_max_position_embeddings": 0.5}, "longrope needs an original length above 1, got 0.5"),
        (YARN | {"mscale": 1e308, "mscale_all_dim": 1.0, "factor": 1e308}, "mscale 1e.308 and mscale_all_dim 1.0"),
        (YARN | {"mscale": 1.0, "mscale_all_dim": 1e308, "factor": 1e308}, "mscale 1.0 and mscale_all_dim 1e.308"),
    ],
)
def test_rope_magnitude_names_what_makes_no_number(scaling, expected):
    with pytest.raises(ValueError, match=f"^rope_magnitude: {expected}"):
        ops.rope_magnitude(scaling)


class Alarm(Exception):
    pass


@pytest.fixture
def alarms():
    """Sets what SIGPROF does, and when, by the process's own clock: other work on the machine changes nothing."""
    before = signal.getsignal(signal.SIGPROF)

    def start(handler, seconds, interval=0.0):
        signal.signal(signal.SIGPROF, handler)
        signal.setitimer(signal.ITIMER_PROF, seconds, interval)

    yield start
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)


def test_interrupted_packing_leaves_no_memory_behind(alarms):
    def ring(*_):
        raise Alarm

    threads, x = pf.get_num_threads(), pf.ones(1, 8192)
    pf.set_num_threads(1)
    try:
        # A signal is seen within 50 ms, in which a fast machine may have packed the first or the second.
        for rows in (8192, 16384, 32768):
            packed = _core.PackedLinear(pf.ones(rows, 8192))
            before = _core.memory_stats()
            alarms(ring, 0.02)  # it is already packing then
            with pytest.raises(Alarm):
                packed(x)
            after = _core.memory_stats()
            left = [after[what] - before[what] for what in ("live_bytes", "live_arrays")]
            if left == [0, 0]:
                break
    finally:
        pf.set_num_threads(threads)
    assert left == [0, 0]
    assert packed(x)[0, 8191].item() == 8192.0


@pytest.mark.parametrize(
    "work",
    [
        lambda x: x.cumsum(0),
        lambda x: x.reshape(8192, 8192).T,
        lambda x: ops.concat([x, x[:3]], axis=0),
        lambda x: ops.gather(x, pf.zeros(1 << 23, dtype=pf.int64), axis=0),
        lambda x: pf.zeros(1 << 26),
        lambda x: pf.arange(1 << 26),
        lambda x: pf.arange(0, 1 << 25, 0.5),
    ],
)
def test_long_moves_notice_signals(work, alarms):
    x = pf.ones(1 << 26)
    seen = []
    threads = pf.get_num_threads()
    pf.set_num_threads(1)
    try:
        alarms(lambda *_: seen.append(1), 0.005, 0.005)
        start = time.process_time()
        work(x)
        elapsed = time.process_time() - start
        noticed = len(seen)
    finally:
        pf.set_num_threads(threads)
    assert noticed >= elapsed / 0.1 - 1, f"{noticed} signals handled in {elapsed:.2f} s"


@pytest.mark.parametrize("threads", [1, 2])
def test_a_product_in_a_signal_handler_does_not_disturb_the_one_that_it_interrupts(threads, alarms):
    pf.manual_seed(3)
    x, weight, other = pf.randn(100_000, 256), pf.randn(256, 256), pf.randn(256, 256)
    before = pf.get_num_threads()
    pf.set_num_threads(threads)
    expected, expected_inside = ops.linear(x, weight).numpy(), ops.linear(x[:1000], other).numpy()
    running, seen = [], []

    def product(*_):
        if running == ["outer"]:  # not between products, nor in a handler that is itself interrupted
            running.append("inner")
            seen.append(np.array_equal(ops.linear(x[:1000], other).numpy(), expected_inside))
            running.pop()

    try:
        alarms(product, 0.005, 0.005)
        deadline = time.monotonic() + 600
        while len(seen) < 5 and time.monotonic() < deadline:
            running.append("outer")
            result = ops.linear(x, weight)
            running.pop()
            assert np.array_equal(result.numpy(), expected)
    finally:
        pf.set_num_threads(before)
    assert len(seen) >= 5
    assert all(seen)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="sets the rounding of x86")
def test_results_do_not_depend_on_the_hosts_rounding():
    wide = np.random.default_rng(1).standard_normal(40)
    kept = pf.zeros(2)

    def of_the_host():
        """What Python and NumPy compute for us."""
        kept[0], kept[1] = 0.97, np.float64(0.3)
        yield from (pf.tensor(0.97), pf.tensor([0.97]), pf.tensor([0.1, 1]), pf.asarray([0.97, 0.3]), kept)
        yield from (pf.tensor(wide, dtype=d) for d in ("float32", "bfloat16", "float16"))
        yield from (pf.tensor(wide.tolist()), nn.Parameter([0.97, 0.1]).detach())
        yield pf.tensor([2**24 + 1, 2**53 + 1], dtype="float32")
        yield pf.full((1,), 2**53 + 1, dtype="float32")
        yield pf.tensor(nn.sinusoids(np.arange(40), 16))
        yield from (pf.tensor(nn.alibi_slopes(6)), pf.tensor(nn.alibi_bias(nn.alibi_slopes(6), np.arange(9)[None], 9)))
        pf.manual_seed(2)
        model = pf.models.GPT(pf.models.GPTConfig(20, 16, 3, 2, 22))
        yield from (p.detach() for p in model.parameters())
        yield model([[1, 2, 3]]).detach()
        model = pf.models.EncoderDecoder(pf.models.EncoderDecoderConfig(20, 16, 1, 2, 22))
        yield model.eval()([[1, 2, 3]], [[1, 2]]).detach()
        for schedule in (optim.CosineSchedule(97, 7), optim.LinearSchedule(97, 7, 0.3), optim.ConstantSchedule(7)):
            yield pf.tensor([schedule(step) for step in range(97)], dtype="float64")
        for name, option in (("CosineAnnealingLR", 7), ("LinearLR", 0.3), ("ExponentialLR", 0.97), ("StepLR", 1)):
            optimizer = optim.SGD([pf.zeros(1, requires_grad=True)], lr=0.1)
            scheduler = getattr(optim.lr_scheduler, name)(optimizer, option)
            for _ in range(3):
                scheduler.step()
                yield pf.tensor(scheduler.get_last_lr(), dtype="float64")
        sizes = pf.tensor(wide)
        yield from (sizes.norm(3), sizes.norm(1.7), sizes.var(correction=0.1), pf.linspace(0.1, 0.7, 11))
        yield from (ops.erf(sizes), ops.log1p(sizes.square()), ops.expm1(sizes))
        for mode in ("bilinear", "bicubic"):
            yield ops.interpolate(sizes.reshape(2, 2, 2, 5), size=(3, 7), mode=mode)
        yarn = {"rope_type": "yarn", "factor": 3.3, "original_max_position_embeddings": 77}
        yield from (pf.tensor(ops.rope_magnitude(yarn), dtype="float64"), ops.rope_frequencies(64, 1e4, yarn))
        config = pf.models.DecoderConfig(20, 16, 1, 2, 24, family="qwen2", qkv_bias=True, rope_scaling=yarn)
        yield pf.models.Decoder(config).to("float64").hidden([[1, 2, 3]]).detach()
        yield pf.models.DiT(pf.models.DiTConfig(8, 4, 1, 3, 1, 2, 16)).sample([0, 1], 3)

    library = ctypes.CDLL(ctypes.util.find_library("m"))
    upward, downward, nearest = 0x800, 0x400, 0
    data = np.random.default_rng(0).standard_normal((4, 40)).astype("float32")
    start = [data, data * 3, data * 0.7, data * data]

    def results():
        x, out = pf.tensor(data), []
        p, grad, m, v = (pf.tensor(array) for array in start)
        _core.adamw_step_([p], [grad], [m], [v], 0.1, 0.9, 0.999, 1e-8, 0.01, 7)
        _core.sgd_step_([p], [grad], [m], 0.1, momentum=0.7, weight_decay=0.3)
        _core.scale_([v], 0.1)
        pf.manual_seed(1)
        out += [p, m, v, ops.dropout(x, 0.3), x * 0.1, 0.3 - x, x / 3.0, ops.exp(x), ops.sin(x), ops.gelu(x)]
        out += [pf.full((2,), 0.1), ops.softmax(x), ops.layer_norm(x), x @ x.T, x.mean(), pf.randn(5)]
        q = x.reshape(1, 4, 4, 10)
        out += [
            ops.attention(q, q, q),
            ops.rms_norm(x),
            ops.group_norm(x, 4),
            ops.cumsum(x, 1),
            pf.arange(0.0, 1.0, 0.1),
        ]
        mean, var = pf.zeros(40), pf.ones(40)
        for training in (True, False):
            out += [ops.batch_norm(x, mean, var, training=training, momentum=0.3, eps=1e-3)]
        out += [mean, var, ops.rope_frequencies(14, scaling=LLAMA3)]
        bits = [t.numpy().tobytes() for t in out] + [_core.global_norm([x]).item()]
        return bits + [t.to(pf.float64).numpy().tobytes() for t in of_the_host()]

    expected = results()
    for rounding in (upward, downward):
        assert library.fesetround(rounding) == 0
        try:
            found = results()
        finally:
            library.fesetround(nearest)
        assert [a == b for a, b in zip(expected, found, strict=True)] == [True] * len(expected)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="sets the mode of x86")
def test_small_numbers_are_shown_where_the_host_flushes_them():
    flushing = 0x8040 | 0x1F80
    tensors = [pf.tensor([1e-39, -1e-42]), pf.tensor([1e-310]), pf.tensor([1e-39], dtype="bfloat16")]

    def shown():
        for t in tensors:
            yield t.tolist(), repr(t), t[0].item(), float(t[0]), f"{t[0]:.3e}"

    expected = list(shown())
    before = _core.enter_default_float_mode()
    try:
        _core.set_float_mode(flushing)
        found = list(shown())
    finally:
        _core.set_float_mode(before)
    assert repr(found) == repr(expected)
    assert found[0][2] == float(np.float32(1e-39)) != 0.0


@pytest.mark.parametrize(
    "call",
    [
        lambda x, w: ops.attention(x, x, x, scale=w),
        lambda x, w: ops.scaled_dot_product_attention(x, x, x, scale=w),
        lambda x, w: ops.layer_norm(x, eps=w),
        lambda x, w: ops.rms_norm(x, None, w),
        lambda x, w: ops.group_norm(x, 1, eps=w),
        lambda x, w: ops.batch_norm(x, training=True, momentum=w),
        lambda x, w: ops.dropout(x, w),
        lambda x, w: ops.cross_entropy(x, pf.zeros(1, 1, 2, dtype="int64"), label_smoothing=w),
        lambda x, w: ops.linear_cross_entropy(x, pf.ones(3, 2), pf.zeros(1, 1, 2, dtype="int64"), label_smoothing=w),
        lambda x, w: ops.norm_linear(x, None, None, pf.ones(3, 2), eps=w),
        lambda x, w: ops.bspline(x, low=w),
        lambda x, w: x.norm(w),
        lambda x, w: x.var(correction=w),
        lambda x, w: pf.linspace(w, 1.0, 3),
        lambda x, w: pf.full((2,), w),
        lambda x, w: pf.nn.Dropout(w),
        lambda x, w: pf.nn.LayerNorm(2, eps=w),
        lambda x, w: pf.optim.AdamW([pf.ones(1, requires_grad=True)], lr=w),
        lambda x, w: pf.optim.clip_grad_norm_([pf.ones(1, requires_grad=True)], w),
        lambda x, w: _core.scale_([pf.ones(1)], w),
        lambda x, w: pf.optim.CosineSchedule(10, final=w),
    ],
)
def test_a_number_that_requires_a_gradient_is_refused(call):
    """It would be lost: what takes a Python number says so, and takes the number's item()."""
    x, w = pf.ones(1, 1, 2, 2), pf.tensor(0.5, requires_grad=True)
    with pytest.raises(TypeError, match=r"number"):
        call(x, w)
    with pf.no_grad():
        call(x, w.item())


def test_a_number_that_requires_a_gradient_names_its_item():
    with pytest.raises(
        TypeError, match=r"^dropout: expected .*p: float\), got .*; a number has no gradient: give the "
    ):
        ops.dropout(pf.ones(2), pf.tensor(0.5, requires_grad=True))
    assert ops.layer_norm(pf.ones(2), eps=pf.tensor(1e-5)).shape == (2,)  # without one it is a number
    assert ops.layer_norm(pf.ones(2), eps=np.float32(1e-5)).shape == (2,)
    for foreign in ("1", None, np.ma.masked_array([0.5], [True])[0], [0.5], 1j):
        with pytest.raises(TypeError, match=r"dropout: expected"):
            ops.dropout(pf.ones(2), foreign)
    with pytest.raises(TypeError, match=r"dropout: expected"):
        ops.dropout(pf.ones(2), pf.ones(2))


def test_a_copy_of_what_requires_a_gradient_warns():
    w = pf.ones(2, requires_grad=True)
    with pytest.warns(UserWarning, match=r"tensor: the copy has no gradient: x.clone\(\) keeps it"):
        assert not pf.tensor(w).requires_grad
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="tensor: the copy"):
            pf.tensor(w * 2)
        pf.tensor(w.detach())
        assert w.clone().requires_grad
        assert pf.asarray(w) is w or pf.asarray(w).requires_grad
