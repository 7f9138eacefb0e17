"""Attention of 16-bit floats on tensor cores, under emulation: where its tiles end, and the same bits in any of them.
test_cuda.py has the case table."""

from __future__ import annotations

import cuda_device
import numpy as np
import pytest
from test_cuda import DEVICE, SCHEDULES, as_numpy
from tolerance import UNIT, same_bits

import pyformer as pf


@pytest.fixture(autouse=True, scope="module")
def _device():
    cuda_device.library()
    yield
    cuda_device.schedule("lowest,early")


@pytest.fixture(autouse=True, params=["bfloat16", "float16"])
def dtype(request):
    cuda_device.schedule(SCHEDULES[1])
    return request.param


def operands(seed, *, b=1, tq=70, tk=70, h=2, hkv=1, d=24, dv=24):
    """q, k, v and dout."""
    rng = np.random.default_rng(seed)
    shapes = ((b, tq, h, d), (b, tk, hkv, d), (b, tk, hkv, dv), (b, tq, h, dv))
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def given(value):
    return pf.tensor(value, device=DEVICE) if isinstance(value, np.ndarray) else value


def results(dtype, q, k, v, dout=None, **options):
    """out, and dq, dk, dv where there is a dout."""
    tensors = [given(x).to(dtype) for x in (q, k, v)]
    for tensor in tensors:
        tensor.requires_grad = dout is not None
    out = pf.ops.attention(*tensors, **{key: given(value) for key, value in options.items()})
    if dout is None:
        return [as_numpy(out)]
    out.backward(given(dout).to(dtype))
    return [as_numpy(x) for x in (out, *(tensor.grad for tensor in tensors))]


def rounded(dtype, x):
    return pf.tensor(x).to(dtype).to("float64").numpy()


def exact(dtype, q, k, v, dout, attended, added=0.0):
    """The same in float64. attended is of (queries, keys)."""
    q, k, v, dout = (rounded(dtype, x) for x in (q, k, v, dout))
    group, scale = q.shape[2] // k.shape[2], q.shape[3] ** -0.5
    wide_k, wide_v = (np.repeat(x, group, 2) for x in (k, v))
    s = np.where(attended, np.einsum("bihd,bjhd->bhij", q, wide_k) * scale + added, -np.inf)
    highest = s.max(-1, keepdims=True)
    e = np.exp(s - np.where(np.isfinite(highest), highest, 0))
    p = e / np.maximum(e.sum(-1, keepdims=True), 1e-300)
    dp = np.einsum("bihd,bjhd->bhij", dout, wide_v)
    ds = p * (dp - (p * dp).sum(-1, keepdims=True)) * scale
    dk, dv = np.einsum("bhij,bihd->bjhd", ds, q), np.einsum("bhij,bihd->bjhd", p, dout)
    heads = (*k.shape[:3], group)
    return [
        np.einsum("bhij,bjhd->bihd", p, wide_v),
        np.einsum("bhij,bjhd->bihd", ds, wide_k),
        dk.reshape(*heads, -1).sum(3),
        dv.reshape(*heads, -1).sum(3),
    ]


def is_near(got, expected, dtype):
    """Beside the largest, and float32's rounding: the gradient of one score is a difference that is 0."""
    return np.abs(got - expected).max() <= 4 * UNIT[dtype] * np.abs(expected).max() + 1e-6


SHAPES = {
    "one": {"tq": 1, "tk": 1},
    "one-row": {"tq": 1, "tk": 300},
    "tile": {"tq": 64, "tk": 64, "h": 1},
    "tile-and-one": {"tq": 65, "tk": 65},
    "width-64": {"tq": 40, "tk": 130, "d": 64, "dv": 64},
    "width-80": {"tq": 40, "tk": 70, "d": 80, "dv": 80},
    "width-128": {"tq": 40, "tk": 70, "d": 128, "dv": 128},
    "odd-width": {"tq": 20, "tk": 70, "d": 13, "dv": 7},
    "values-wider": {"tq": 20, "tk": 70, "d": 16, "dv": 200},
    "values-narrower": {"tq": 20, "tk": 70, "d": 136, "dv": 8},
    "widest": {"tq": 10, "tk": 20, "d": 256, "dv": 256},
}


@pytest.mark.parametrize("window", [None, 9])
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(shape, window, dtype):
    q, k, v, dout = operands(0, **SHAPES[shape])
    tq, tk = q.shape[1], k.shape[1]
    behind = np.arange(tk) - (np.arange(tq)[:, None] + tk - tq)
    attended = (behind <= 0) & (behind > -(window or tk))
    found = results(dtype, q, k, v, dout, causal=True, window=window)
    for name, got, expected in zip(
        ("out", "dq", "dk", "dv"), found, exact(dtype, q, k, v, dout, attended), strict=True
    ):
        assert is_near(got, expected, dtype), name


def test_a_mask_and_rows_that_attend_to_nothing(dtype):
    q, k, v, dout = operands(1, tk=150)
    attended = np.random.default_rng(0).random((70, 150)) < 0.5
    attended[[3, 69]] = False
    attended[:, 64:128] = False  # a block
    added = np.where(attended, np.random.default_rng(1).standard_normal(attended.shape), -np.inf).astype(np.float32)
    for mask, bias in ((attended, 0.0), (added, np.where(attended, added, 0.0))):
        found = results(dtype, q, k, v, dout, mask=mask)
        assert not found[0][:, [3, 69]].any()
        assert not found[1][:, [3, 69]].any()
        assert not found[2][:, 64:128].any()
        expected = exact(dtype, q, k, v, dout, attended, bias)
        for got, value in zip(found, expected, strict=True):
            assert is_near(got, value, dtype)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
def test_what_is_not_attended_takes_no_part(bad, dtype):
    """In masked keys and values, and in queries that see nothing, and their gradients."""
    q, k, v, dout = operands(2, tq=130, tk=130)
    mask = np.random.default_rng(0).random((130, 130)) < 0.7
    mask[:, [3, 40, 129]] = False
    mask[[7, 64]] = False
    options = {"causal": True, "mask": mask}
    expected = results(dtype, q, k, v, dout, **options)
    k[:, [3, 40, 129]] = v[:, [3, 40, 129]] = bad
    q[:, [7, 64]] = dout[:, [7, 64]] = bad
    for got, want in zip(results(dtype, q, k, v, dout, **options), expected, strict=True):
        assert np.isfinite(want).all()
        assert same_bits(got, want)


@pytest.mark.parametrize("bad", [np.nan, 3e38])
def test_later_positions_change_nothing(bad, dtype):
    """Nor do keys beyond a row's length, or out of its window."""
    q, k, v, dout = operands(3, tq=100, tk=100)
    whole = results(dtype, q, k, v, dout, causal=True)
    for last in (1, 15, 65):
        spoiled = [x.copy() for x in (q, k, v, dout)]
        for x in spoiled[1:3]:
            x[:, last:] = bad
        got = results(dtype, *spoiled, causal=True)
        assert same_bits(got[0][:, :last], whole[0][:, :last])
        assert same_bits(got[1][:, :last], whole[1][:, :last])
        cut = results(dtype, q[:, :last], k, v, dout[:, :last], causal=True, key_lengths=np.array([last]))
        assert same_bits(cut[0], whole[0][:, :last])
    k[:, :20] = v[:, :20] = bad
    windowed = results(dtype, q, k, v, dout, causal=True, window=30)
    assert np.isfinite(windowed[0][:, 49:]).all()
    # What later queries have is in no earlier key's gradient that they do not attend to.
    first = results(dtype, *(x[:, 20:] for x in (q, k, v, dout)), causal=True, window=30)
    for x in (q, dout):
        x[:, 80:] = bad
    later = results(dtype, *(x[:, 20:] for x in (q, k, v, dout)), causal=True, window=30)
    assert same_bits(later[2][:, :31], first[2][:, :31])
    assert same_bits(later[3][:, :31], first[3][:, :31])


def test_batch_heads_and_ranges_change_no_bits(dtype):
    """33 x 2 heads are tiles enough for no ranges of keys; the head alone has its 600 in three."""
    q, k, v, _ = operands(4, b=33, tq=3, tk=600, h=4, hkv=2, d=16, dv=16)
    (whole,) = results(dtype, q, k, v, causal=True, window=500)
    for b, head in ((0, 1), (32, 0)):
        heads = slice(2 * head, 2 * head + 2)
        one = slice(b, b + 1), slice(None)
        (alone,) = results(dtype, q[one][:, :, heads], k[one][:, :, head : head + 1], v[one][:, :, head : head + 1],
                           causal=True, window=500)  # fmt: skip
        assert same_bits(alone[0], whole[b, :, heads])


def test_queries_one_by_one_have_the_bits_of_all(dtype):
    q, k, v, dout = operands(5, tq=330, tk=330, h=1)
    whole = results(dtype, q, k, v, dout, causal=True)
    for first, count in ((0, 1), (63, 2), (255, 3), (329, 1)):
        end = first + count
        options = {"causal": True, "key_lengths": np.array([end])}
        some = results(dtype, q[:, first:end], k, v, dout[:, first:end], **options)
        assert same_bits(some[0], whole[0][:, first:end])
        assert same_bits(some[1], whole[1][:, first:end])


def test_wide_heads_where_blocks_have_less_shared_memory(dtype):
    """The tiles of heads of 192 do not fit on sm86: plain kernels take those."""
    for width, by_tensor_cores in ((128, True), (192, False)):
        q, k, v, dout = operands(8, tq=10, tk=20, d=width, dv=width)
        attended = np.ones((10, 20), bool)
        cuda_device.schedule(f"{SCHEDULES[1]},sm86")
        before = cuda_device.counts()["mma"]
        found = results(dtype, q, k, v, dout)
        assert (cuda_device.counts()["mma"] > before) == by_tensor_cores
        for got, expected in zip(found, exact(dtype, q, k, v, dout, attended), strict=True):
            assert is_near(got, expected, dtype)


@pytest.mark.parametrize("tensor_core", ["ampere", "plain"])
def test_every_schedule_has_the_same_bits(tensor_core, dtype):
    q, k, v, dout = operands(6, tq=90, tk=140, d=40, dv=16)
    found = []
    for words in SCHEDULES:
        cuda_device.schedule(f"{words},{tensor_core}")
        found.append(results(dtype, q, k, v, dout, causal=True))
    assert all(same_bits(a, b) for other in found[1:] for a, b in zip(other, found[0], strict=True))


def test_no_bank_conflicts_and_no_more_products_than_needed(dtype):
    """Of 64 x 64 scores with D = 64: 4 warps, 32 mma each for a product of 16 x 64 x 64."""
    library = cuda_device.library()
    library.pyformer_emulated_counters.restype = cuda_device.ctypes.POINTER(cuda_device.ctypes.c_uint64)

    def counted():
        pf.cuda.synchronize(DEVICE)
        return np.array(library.pyformer_emulated_counters()[:12])

    for width, dv in ((64, 64), (40, 200)):
        q, k, v, dout = operands(7, tq=64, tk=64, h=1, d=width, dv=dv)
        before = counted()
        results(dtype, q, k, v, dout)
        spent = counted() - before
        assert spent[10] == spent[11] > 0, "wavefronts of ldmatrix against those without conflicts"
        if width == 64:
            products = 2 + 3 + 4
            assert spent[6] == products * 4 * 32
