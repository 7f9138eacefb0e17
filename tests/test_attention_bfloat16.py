"""attention of bfloat16: the sum written down in attention_ref.cpp, and its bits on every instruction set, with any
neighbours, threads and caches. test_bfloat16_product.py runs the case table on every set."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from test_bfloat16_product import ISAS, REGIMES, assert_all_equal, bfloat16, documented, in_sets, with_infinities
from tolerance import same_bits

import pyformer as pf
from pyformer import _core, ops

TABLES = _core.kernels()


def wide(tensor: pf.Tensor) -> np.ndarray:
    return tensor.detach().to("float32").numpy().copy()


def operands(rng, make=None, *, b=2, tq=70, tk=70, h=4, hkv=2, d=40, dv=24):
    """q, k, v and dout."""
    make = make or (lambda rng, shape: rng.standard_normal(shape))
    shapes = ((b, tq, h, d), (b, tk, hkv, d), (b, tk, hkv, dv), (b, tq, h, dv))
    return [make(rng, shape).astype(np.float32) for shape in shapes]


def results(q, k, v, dout, **options) -> list[np.ndarray]:
    """out, dq, dk, dv in memory pre-filled with NaN between guard bands."""
    _core.set_guard_mode(True)
    tensors = [bfloat16(x) for x in (q, k, v)]
    for tensor in tensors:
        tensor.requires_grad = True
    out = ops.attention(*tensors, **options)
    out.backward(bfloat16(dout))
    values = [wide(out), *(wide(tensor.grad) for tensor in tensors)]
    _core.set_guard_mode(False)
    assert _core.guard_violations() == 0
    return values


@pytest.mark.parametrize("isa", ["avx2", "avx512"])
def test_every_set_has_kernels(isa):
    if isa in TABLES["attention_tiles"]:
        assert all("bfloat16" in row for row in TABLES["attention_tiles"][isa])


# ---- the documented sum -------------------------------------------------------------------------------------------


def rounded(x) -> np.ndarray:
    return bfloat16(x).to("float32").numpy()


def lanes_total(p: np.ndarray) -> np.float32:
    """Sixteen lanes over a block of 64, which meet in a binary tree."""
    lanes = np.zeros(16, np.float32)
    for j, value in enumerate(p):
        lanes[j % 16] += value
    while lanes.size > 1:
        lanes = lanes[: lanes.size // 2] + lanes[lanes.size // 2 :]
    return lanes[0]


@cache
def block_of_keys(keys: int, d: int):
    """q, k, v and what attention of one block of keys is, in plain steps; the library's exp."""
    rng = np.random.default_rng(keys)
    q, k, v, _ = (rounded(x) for x in operands(rng, b=1, tq=8, tk=keys, h=1, hkv=1, d=d, dv=20))
    out = []
    for i in range(8):
        s = np.array([documented(q[0, i, 0], k[0, j, 0]) for j in range(keys)], np.float32) * np.float32(0.3)
        p = rounded(ops.exp(pf.tensor(s - s.max())).numpy())
        sums = np.array([documented(p, v[0, :, 0, c]) for c in range(20)], np.float32)
        out.append(rounded(sums / lanes_total(p)))
    return [bfloat16(x) for x in (q, k, v)], np.array(out)


@pytest.mark.parametrize("isa", ["ref", *ISAS])
@pytest.mark.parametrize(("keys", "d"), [(1, 8), (33, 40), (64, 70)])
def test_a_block_of_keys_is_the_documented_sum(keys, d, isa):
    _core.set_isa(isa)
    tensors, expected = block_of_keys(keys, d)
    assert np.array_equal(wide(ops.attention(*tensors, scale=0.3))[0, :, 0], expected)


# ---- the same bits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("regime", REGIMES)
def test_numbers_of_any_size(regime):
    values = operands(np.random.default_rng(1), REGIMES[regime])
    assert_all_equal(in_sets(lambda: results(*values, causal=True)), regime)


def test_the_greatest_denormals_round_up_in_every_set():
    """Gradients of scores around 2^-126: of those just below it rounding makes 2^-126, which products see."""
    q, k, v, dout = operands(np.random.default_rng(9))
    found = in_sets(lambda: results(q * 2.0**-10, k * 2.0**10, v * 2.0**-120, dout))
    assert_all_equal(found)
    assert np.count_nonzero(found["ref"][1]) > 1000


@pytest.mark.parametrize("which", range(4), ids=["q", "k", "v", "dout"])
@pytest.mark.parametrize("options", [{"causal": True}, {"window": 9}, {}], ids=["causal", "window", "all"])
def test_infinities_and_nan(options, which):
    rng = np.random.default_rng(which)
    values = operands(rng, tq=100, tk=100)
    values[which][:, ::7] = with_infinities(rng, values[which][:, ::7].shape)
    assert_all_equal(in_sets(lambda: results(*values, **options)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_added_mask_may_be_float32(dtype):
    rng = np.random.default_rng(8)
    values = operands(rng)
    mask = rng.standard_normal((4, 70, 70)).astype(np.float32) * 3
    mask[rng.random(mask.shape) < 0.1] = -np.inf
    mask.view(np.uint32)[0, 5, 6] = 0x7FFFFFFF  # a NaN that rounding would carry to -0
    found = in_sets(lambda: results(*values, mask=pf.tensor(mask).to(dtype)))
    assert_all_equal(found)
    assert np.isnan(found["ref"][0][:, 5, 0]).all()


def test_a_float32_mask_is_not_rounded():
    rng = np.random.default_rng(9)
    q, k, v, _ = (bfloat16(x) for x in operands(rng))
    mask = pf.tensor((300 + rng.random((70, 70))).astype(np.float32))  # bfloat16 has steps of 2 there
    exact, once = (wide(ops.attention(q, k, v, mask=m)) for m in (mask, mask.to("bfloat16")))
    assert not same_bits(exact, once)


def autocast_results(q, k, v, dout, **options) -> list[np.ndarray]:
    """out, dq, dk, dv of float32 operands."""
    tensors = [pf.tensor(x, requires_grad=True) for x in (q, k, v)]
    with pf.autocast("bfloat16"):
        out = ops.attention(*tensors, **options)
    out.backward(pf.tensor(dout))
    values = [out.detach(), *(tensor.grad for tensor in tensors)]
    assert {value.dtype for value in values} == {pf.float32}
    return [value.numpy() for value in values]


@pytest.mark.parametrize("tq", [70, 2100])
def test_autocast_stores_the_same_sums_in_float32(tq):
    """Also the partial sums of heads that share a key head, and of chunks of queries."""
    values = operands(np.random.default_rng(10), tq=tq, b=1)
    mask = pf.tensor(np.random.default_rng(0).standard_normal((tq, 70)).astype(np.float32))
    found = in_sets(lambda: autocast_results(*values, mask=mask))
    assert_all_equal(found)
    out, dq, _, dv = found["ref"]
    narrow = results(*values, mask=mask)
    for value, once in ((out, narrow[0]), (dv, narrow[3])):  # the others depend on the output's rounding
        assert same_bits(rounded(value), rounded(once))
    assert not same_bits(rounded(out), out)
    assert not same_bits(rounded(dq), dq)
    packed = pf.tensor(np.stack([values[0]] * 3, 2), requires_grad=True)
    with pf.autocast("bfloat16"):
        both = [ops.attention_packed(packed), ops.attention(packed[:, :, 0], packed[:, :, 1], packed[:, :, 2])]
    assert same_bits(*(out.numpy() for out in both))


@pytest.mark.parametrize("isa", ["ref", *ISAS])
def test_what_is_not_attended_takes_no_part(isa):
    """Infinities and NaN in keys, values, queries and gradients reach only the rows that attend to them."""
    _core.set_isa(isa)
    rng = np.random.default_rng(3)
    q, k, v, dout = operands(rng, tq=130, tk=130)
    mask = rng.random((130, 130)) < 0.7
    mask[:, [3, 40, 129]] = False  # keys that nobody sees
    mask[[7, 64]] = False  # queries that see nothing
    expected = results(q, k, v, dout, causal=True, mask=pf.tensor(mask))
    for bad in (np.nan, np.inf):
        k[:, [3, 40, 129]] = v[:, [3, 40, 129]] = bad
        q[:, [7, 64]] = dout[:, [7, 64]] = bad
        for got, want in zip(results(q, k, v, dout, causal=True, mask=pf.tensor(mask)), expected, strict=True):
            assert same_bits(got, want)


@pytest.mark.parametrize("isa", ["ref", *ISAS])
def test_a_later_position_changes_nothing(isa):
    """Also not as NaN, which is multiplied with +0 where rows of one tile differ in what they attend to."""
    _core.set_isa(isa)
    q, k, v, dout = operands(np.random.default_rng(4))
    whole = results(q, k, v, dout, causal=True)
    for last in (1, 31, 33, 63, 65):
        cut = [x[:, :last].copy() for x in (q, k, v, dout)]
        spoiled = [x.copy() for x in (q, k, v, dout)]
        for x in spoiled[1:3]:
            x[:, last:] = np.nan
        assert same_bits(results(*cut, causal=True)[0], whole[0][:, :last])
        got = results(*spoiled, causal=True)
        assert same_bits(got[0][:, :last], whole[0][:, :last])
        assert same_bits(got[1][:, :last], whole[1][:, :last])


@pytest.mark.parametrize("isa", ISAS)
def test_cached_is_full(isa):
    """Positions decide, not how many queries come at a time or how much room the cache has."""
    _core.set_isa(isa)
    q, k, v, _ = (bfloat16(x) for x in operands(np.random.default_rng(5), tq=600, tk=600))
    whole = wide(ops.attention(q, k, v, causal=True))
    room = [bfloat16(np.full((2, 640, *x.shape[2:]), np.nan)) for x in (k, v)]
    for x, filled in zip(room, (k, v), strict=True):
        x[:, :600] = filled
    for first, n in ((0, 1), (63, 1), (64, 1), (255, 3), (299, 20), (0, 256), (599, 1)):
        lengths = pf.tensor(np.array([first + n] * 2))
        part = ops.attention(q[:, first : first + n], *room, causal=True, key_lengths=lengths)
        assert same_bits(wide(part), whole[:, first : first + n])


OPTIONS = {
    "causal": {"causal": True},
    "window": {"causal": True, "window": 50},
    "offset": {"causal": True, "query_offset": np.array([3, 100])},
    "lengths": {"key_lengths": np.array([600, 37])},
}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("options", OPTIONS)
def test_threads_and_batch_change_nothing(options, isa):
    _core.set_isa(isa)
    options = {k: pf.tensor(v) if isinstance(v, np.ndarray) else v for k, v in OPTIONS[options].items()}
    values = operands(np.random.default_rng(6), tq=600, tk=600)
    pf.set_num_threads(1)
    whole = results(*values, **options)
    for threads in (2, 3, 7):
        pf.set_num_threads(threads)
        for got, want in zip(results(*values, **options), whole, strict=True):
            assert same_bits(got, want)
    for b in range(2):
        own = {k: v[b : b + 1] if isinstance(v, pf.Tensor) else v for k, v in options.items()}
        for got, want in zip(results(*(x[b : b + 1] for x in values), **own), whole, strict=True):
            assert same_bits(got, want[b : b + 1])


@pytest.mark.parametrize("isa", ISAS)
def test_the_callers_float_mode_is_given_back(isa):
    _core.set_isa(isa)
    tiny = pf.tensor(np.full(4, 1e-40, np.float32))
    results(*operands(np.random.default_rng(7)), causal=True)
    assert (tiny * 1.0).numpy().tolist() == [np.float32(1e-40)] * 4
    assert np.float32(1e-40) * np.float32(0.5) != 0
