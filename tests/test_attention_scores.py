"""pf.ops.attention with a softcap and with sinks; tests/case_tables/attention.py has its values and gradients."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from case_runner import VECTOR_ISAS

import pyformer as pf
from pyformer import _core, ops
from pyformer.nn.attention import attention_of_scores, attention_of_weights

B, T, H, HKV, D, DV = 2, 9, 4, 2, 8, 12
BOTH = ["softcap", "sinks", "softcap and sinks"]


def operands(dtype="float32", requires_grad=False):
    rng = np.random.default_rng(0)
    shapes = ((B, T, H, D), (B, T, HKV, D), (B, T, HKV, DV), (H,))
    q, k, v, sinks = (pf.tensor(rng.standard_normal(shape)).to(dtype) for shape in shapes)
    for tensor in (q, k, v, sinks):
        tensor.requires_grad = requires_grad
    return q, k, v, sinks


def options(name, sinks):
    return ({"softcap": 1.5} if "softcap" in name else {}) | ({"sinks": sinks} if "sinks" in name else {})


def bits(tensor):
    return tensor.detach().to("float64").numpy()


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("window", [None, 3])
def test_a_query_has_the_bits_that_it_has_alone_in_a_row_of_its_own_and_in_a_cache(name, dtype, window):
    q, k, v, sinks = operands(dtype)
    given = options(name, sinks) | {"causal": True, "window": window}
    whole = bits(ops.attention(q, k, v, **given))
    room = pf.full((B, 5, HKV, D), np.nan, dtype=dtype), pf.full((B, 5, HKV, DV), np.nan, dtype=dtype)
    for i in range(T):
        alone = ops.attention(q[:, i : i + 1], k[:, : i + 1], v[:, : i + 1], **given)
        np.testing.assert_array_equal(bits(alone)[:, 0], whole[:, i])
        keys, values = (ops.concat([x[1:], more[1:]], axis=1) for x, more in zip((k, v), room, strict=True))
        cached = ops.attention(q[1:, i : i + 1], keys, values, key_lengths=pf.tensor([i + 1]), **given)
        np.testing.assert_array_equal(bits(cached)[:, 0], whole[1:, i])


@pytest.mark.parametrize("name", BOTH)
def test_threads_and_sets_change_no_bit(name):
    q, k, v, sinks = operands()
    seen = []
    before, isa = pf.get_num_threads(), _core.isa()
    try:
        for threads, isa_name in ((1, "ref"), (3, "ref"), *((2, each) for each in VECTOR_ISAS)):
            pf.set_num_threads(threads)
            _core.set_isa(isa_name)
            seen.append(bits(ops.attention(q, k, v, causal=True, **options(name, sinks))))
    finally:
        pf.set_num_threads(before)
        _core.set_isa(isa)
    for other in seen[1:]:
        np.testing.assert_array_equal(other, seen[0])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("sink", [-np.inf, 0.0, 3.0])
def test_a_row_with_nothing_to_attend_to_gives_zeros_and_no_gradient(dtype, sink):
    q, k, v, sinks = operands(dtype)
    sinks = pf.full((H,), sink, dtype=dtype)
    for tensor in (q, k, v, sinks):
        tensor.requires_grad = True
    out = ops.attention(q, k, v, key_lengths=pf.tensor([0, T]), softcap=2.0, sinks=sinks)
    out.sum().backward()
    assert not bits(out)[0].any()
    assert bits(out)[1].all()
    for tensor in (q, k, v):
        assert not bits(tensor.grad)[0].any()
        assert bits(tensor.grad)[1].any()
    assert np.isfinite(bits(sinks.grad)).all()
    assert bits(sinks.grad).any() == (sink > -np.inf)


def test_keys_beyond_a_rows_length_may_hold_anything():
    expected = None
    for beyond in (0.0, np.nan, np.inf):
        q, k, v, sinks = operands()
        for x in (k, v):
            x[0, 4:] = beyond
        for tensor in (q, k, v, sinks):
            tensor.requires_grad = True
        out = ops.attention(q, k, v, key_lengths=pf.tensor([4, T]), softcap=2.0, sinks=sinks)
        (out * out).sum().backward()
        got = [bits(t) for t in (out, q.grad, k.grad, v.grad, sinks.grad)]
        expected = expected or got
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", BOTH)
def test_autocast_gives_the_bits_of_bfloat16_unrounded(name):
    narrow = operands("bfloat16", requires_grad=True)
    wide = [pf.tensor(x.detach().to("float32").numpy(), requires_grad=True) for x in narrow]
    out = ops.attention(*narrow[:3], causal=True, **options(name, narrow[3]))
    with pf.autocast("bfloat16"):
        exact = ops.attention(*wide[:3], causal=True, **options(name, wide[3]))
    assert (out.dtype, exact.dtype) == (pf.bfloat16, pf.float32)
    np.testing.assert_array_equal(bits(out), bits(exact.to("bfloat16")))
    dout = pf.tensor(np.random.default_rng(1).standard_normal(out.shape)).to("bfloat16")
    out.backward(dout)
    exact.backward(dout.to("float32"))
    for a, b in zip(narrow, wide, strict=True):
        if b.grad is None:
            assert a.grad is None
            continue
        assert a.grad.dtype == b.grad.dtype == pf.float32
        np.testing.assert_array_equal(bits(a.grad), bits(b.grad))


def test_sinks_of_float32_beside_operands_of_16_bits():
    q, k, v, sinks = operands("bfloat16")
    np.testing.assert_array_equal(
        bits(ops.attention(q, k, v, sinks=sinks.to("float32"))), bits(ops.attention(q, k, v, sinks=sinks))
    )


def test_packed_is_separate():
    rng = np.random.default_rng(0)
    qkv = pf.tensor(rng.standard_normal((B, T, 3, H, D)))
    sinks = pf.tensor(rng.standard_normal(H))
    given = {"causal": True, "softcap": 2.0, "sinks": sinks}
    separate = ops.attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2], **given)
    np.testing.assert_array_equal(ops.attention_packed(qkv, **given).numpy(), separate.numpy())


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"softcap": 0.0}, ValueError, r"^attention: softcap must be above 0 and finite, got 0"),
        ({"softcap": -1.0}, ValueError, r"^attention: softcap must be above 0 and finite, got -1"),
        ({"softcap": float("nan")}, ValueError, r"^attention: softcap must be above 0 and finite"),
        ({"softcap": float("inf")}, ValueError, r"^attention: softcap must be above 0 and finite, got inf"),
        ({"softcap": "2"}, TypeError, "^attention: expected .*softcap=.2"),
        ({"sinks": pf.zeros(3)}, ValueError, r"^attention: sinks must be \(H,\) = \(4,\), got \(3,\)"),
        ({"sinks": pf.zeros(1, 4)}, ValueError, r"^attention: sinks must be \(H,\) = \(4,\), got \(1, 4\)"),
        ({"sinks": pf.zeros(4, dtype="float64")}, TypeError, "^attention: sinks must be float32 as q is, got float64"),
        ({"sinks": pf.zeros(4, dtype="int64")}, TypeError, "^attention: sinks must be float32 as q is, got int64"),
        ({"sinks": [0.0] * 4}, TypeError, "^attention: expected .*sinks="),
        ({"softcap": 1.0, "mask": pf.zeros(T, T, requires_grad=True)}, ValueError, "^attention: mask has no gradient"),
        ({"softcap": 1.0, "mask": pf.zeros(2, T)}, ValueError, "^attention: mask must broadcast"),
        ({"softcap": 1.0, "key_lengths": pf.tensor([1, T + 1])}, ValueError, "^attention: key_lengths must be"),
        ({"softcap": 1.0, "window": 0}, ValueError, "^attention: window must be at least 1"),
    ],
)
def test_bad_arguments(given, error, message):
    q, k, v, _ = operands()
    with pytest.raises(error, match=message):
        ops.attention(q, k, v, **given)


@pytest.mark.parametrize("far", [-(2**63), 2**63 - 1])
def test_offsets_and_windows_at_the_ends_of_int64(far):
    q, k, v, _ = operands()
    given = {"causal": True, "window": 2**63 - 1, "query_offset": pf.tensor([far, 3])}
    plain = ops.attention(q, k, v, **given).numpy()
    capped = ops.attention(q, k, v, softcap=1e6, **given).numpy()
    np.testing.assert_allclose(capped, plain, atol=1e-5)


def plain(q, k, v, sinks):
    return attention_of_scores(q, k, v, causal=True)


def with_both(q, k, v, sinks):
    return ops.attention(q, k, v, causal=True, softcap=1.5, sinks=sinks)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("attend", [plain, with_both])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", range(4))
def test_what_is_not_attended_to_changes_no_bit(attend, dtype, bad, which):
    """An infinity or NaN in a query, a key, a value or a gradient at one place reaches what attends to it, or what it
    attends to, and nothing else."""
    place, results = 5, []
    for value in (1.0, bad):
        given = operands(dtype)
        dout = pf.tensor(np.random.default_rng(1).standard_normal((B, T, H, DV))).to(dtype)
        (*given[:3], dout)[which][0, place] = value
        for tensor in given:
            tensor.requires_grad = True
        out = attend(*given)
        out.backward(dout)
        results.append([bits(t) for t in (out, *(x.grad for x in given[:3]))])
    before, after = results
    row = [place] if which in (0, 3) else range(place, T)  # the queries that meet it
    others = [i for i in range(T) if i not in row]
    for a, b in zip(before[:2], after[:2], strict=True):  # out, dq
        np.testing.assert_array_equal(a[0, others], b[0, others])
        np.testing.assert_array_equal(a[1], b[1])
    for a, b in zip(before[2:], after[2:], strict=True):  # dk, dv: what those queries did not attend to
        np.testing.assert_array_equal(a[0, max(row) + 1 :], b[0, max(row) + 1 :])
        np.testing.assert_array_equal(a[1], b[1])
    if which == 2:
        assert not np.isfinite(after[1][0, place:]).all(axis=-1).any()  # dq, and dk of what they saw
        assert not np.isfinite(after[2][0, : place + 1]).all(axis=-1).any()
        np.testing.assert_array_equal(after[0][0, place:], np.full_like(after[0][0, place:], bad))
    if which == 3:
        assert not np.isfinite(after[3][0, : place + 1]).any()


@pytest.mark.parametrize("attend", [attention_of_scores, partial(ops.attention, softcap=1000.0)])
def test_an_attended_infinity_stays_one_whatever_is_added_to_other_scores(attend):
    q, k = pf.tensor([[[[300.0]]]]), pf.tensor([[[[1.0]], [[0.0]]]])
    v, mask = pf.tensor([[[[np.inf]], [[1.0]]]]), pf.tensor([[[[0.0, 200.0]]]])
    assert attend(q, k, v, mask=mask, scale=1.0).item() == np.inf


def test_an_infinity_under_given_weights_stays_one_whatever_the_mask_adds():
    weights, v = pf.tensor([[[[1.0, 0.0]]]]), pf.tensor([[[[np.inf]], [[1.0]]]])
    assert attention_of_weights(weights, v, mask=pf.tensor([[[[0.0, 200.0]]]])).item() == np.inf
