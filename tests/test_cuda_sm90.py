"""Products and attention of 16-bit floats on a device of sm_90a (bulk copies, wgmma), under emulation: the bits of the
kernels for sm_80, as tensor cores of one device add up alike in both. test_cuda.py has the case table in both."""

from __future__ import annotations

from contextlib import nullcontext

import cuda_device
import numpy as np
import pytest
from test_cuda import CASES, DEVICE, as_numpy, inputs_of, run
from test_cuda_attention import exact, is_near, operands, results, rounded
from tolerance import same_bits

import pyformer as pf


@pytest.fixture(autouse=True, scope="module")
def _device():
    cuda_device.library()
    yield
    cuda_device.schedule("lowest,early")


def in_both(compute):
    """What compute() gives on a device of sm_90a under two schedules, after it was seen to have the bits of sm_80 in
    each; and how many instructions wgmma there were."""
    expected, wgmma = None, 0
    for words in ("lowest,early,sm80", "highest,late,sm90", "drawn,early,seed=4,sm90"):
        cuda_device.schedule(words)
        pf.cuda.synchronize(DEVICE)
        before = cuda_device.counts()["wgmma"]
        found = compute()
        pf.cuda.synchronize(DEVICE)
        wgmma = cuda_device.counts()["wgmma"] - before
        if expected is None:
            expected = found
            assert wgmma == 0
        assert all(map(same_bits, found, expected)), words
    return expected, wgmma


def halves(dtype, *shape, seed=0):
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return pf.tensor(values, device=DEVICE).to(dtype)


# m, n, k: parts of tiles, several tiles for a block, several chains and a part of one.
@pytest.mark.parametrize(("m", "n", "k"), [(17, 8, 8), (130, 72, 600), (40, 200, 64), (300, 200, 72)])
@pytest.mark.parametrize("transposed", ["", "a", "b"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_products(dtype, transposed, m, n, k):
    m = (m + 7) // 8 * 8 if transposed == "a" else m
    a = halves(dtype, *((k, m) if transposed == "a" else (m, k)))
    b = halves(dtype, *((n, k) if transposed == "b" else (k, n)), seed=1)
    which = {f"transpose_{x}": x == transposed for x in "ab"}
    (found,), wgmma = in_both(lambda: [as_numpy(pf.ops.matmul(a, b, **which))])
    assert wgmma > 0
    a, b = (as_numpy(x).astype(np.float64) for x in (a, b))
    expected = (a.T if transposed == "a" else a) @ (b.T if transposed == "b" else b)
    np.testing.assert_allclose(found, expected, rtol=2**-7, atol=2**-7 * k**0.5)


def test_the_case_table_has_rows_of_each_op_for_it():
    """test_cuda.py has them under every schedule; here they are seen to run on wgmma."""
    left = {"attention", "attention_packed", "linear", "linear_cross_entropy", "matmul", "mlp", "norm_linear"}
    cuda_device.schedule("lowest,early,plain,sm90")
    for case in CASES:
        if case.op not in left:
            continue
        before = cuda_device.counts()["wgmma"]
        run(case, inputs_of(case, "float16"), "float16", DEVICE)
        pf.cuda.synchronize(DEVICE)
        if cuda_device.counts()["wgmma"] > before:
            left.remove(case.op)
    assert not left


def test_batches_of_products_and_one_for_all():
    a, b, one = halves("bfloat16", 3, 20, 24), halves("bfloat16", 3, 24, 40, seed=1), halves("bfloat16", 24, 40, seed=2)
    for other in (b, one):
        (found,), wgmma = in_both(lambda other=other: [as_numpy(pf.ops.matmul(a, other))])
        assert wgmma > 0
        for i in range(3):
            alone = as_numpy(pf.ops.matmul(a[i], other[i] if other is b else one))
            assert same_bits(found[i], alone)


def test_what_bulk_copies_cannot_bring_goes_another_way():
    """Rows of 2 (mod 8) elements, both transposed."""
    a, b = halves("bfloat16", 40, 34), halves("bfloat16", 34, 40)
    square, other = halves("bfloat16", 40, 40), halves("bfloat16", 40, 40, seed=1)
    for compute in (
        lambda: pf.ops.matmul(a, b),
        lambda: pf.ops.matmul(square, other, transpose_a=True, transpose_b=True),
    ):
        assert in_both(lambda compute=compute: [as_numpy(compute())])[1] == 0


# Of 3 rows, 17, and more than a tile; of rows that start at multiples of 16 bytes and that do not.
@pytest.mark.parametrize("rows", [3, 17, 140])
@pytest.mark.parametrize("width", [272, 530, 13])
@pytest.mark.parametrize("weights", ["bfloat16", "float32"])
def test_float32_is_rounded_for_a_product(weights, width, rows):
    """As by itself: the gradients' products are of two such operands, one of them transposed."""
    rng = np.random.default_rng(0)
    x, weight, dout = (rng.standard_normal(s).astype(np.float32) for s in ((rows, width), (70, width), (rows, 70)))

    def linear(rounds):
        a, w = (pf.tensor(v, device=DEVICE) for v in (x, weight))
        w = w.to("bfloat16" if rounds else weights)
        a = a.to("bfloat16").to("float32") if rounds else a
        a.requires_grad = w.requires_grad = True
        with pf.autocast("bfloat16"):
            out = pf.ops.linear(a, w)
        out.backward(pf.tensor(dout, device=DEVICE))
        return [as_numpy(t) for t in (out, a.grad, w.grad)]

    found, wgmma = in_both(lambda: linear(False))
    assert wgmma > 0
    expected = linear(True)
    assert same_bits(found[0], expected[0])
    assert same_bits(found[1], expected[1])
    if weights == "bfloat16":
        assert same_bits(found[2], expected[2])


def test_linear_cross_entropy_rounds_what_two_products_read_once():
    """The weights and the logits' gradients; x, and x without ignored rows, are each for one product."""
    rng = np.random.default_rng(0)
    x, weight = (pf.tensor(rng.standard_normal(s).astype(np.float32), device=DEVICE) for s in ((40, 64), (72, 64)))
    targets = pf.tensor(np.arange(40), device=DEVICE)
    x.requires_grad = weight.requires_grad = True
    cuda_device.schedule("lowest,early,plain,count")
    before = cuda_device.kernel_counts()
    with pf.autocast("bfloat16"):
        pf.ops.linear_cross_entropy(x, weight, targets).backward()
    as_numpy(weight.grad)
    after = cuda_device.kernel_counts()
    cuda_device.schedule("lowest,early")

    def launches(counts):
        return counts.get("items<RoundChunk>", {}).get("launches", 0)

    assert launches(after) - launches(before) == 2


def train(dtype, mode=None):
    pf.manual_seed(1)
    config = pf.models.GPTConfig(vocab_size=24, context_length=32, num_layers=1, num_heads=1, embed_dim=64, dropout=0.1)
    model = pf.models.GPT(config).to(DEVICE).to(dtype)
    optimizer, rng, losses = pf.optim.AdamW(model.parameters(), lr=1e-2), np.random.default_rng(0), []
    for _ in range(3):
        ids = rng.integers(0, 24, (2, 21))
        with pf.autocast(mode) if mode else nullcontext():
            loss = model.loss(ids[:, :-1], ids[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return [np.array(losses), *(as_numpy(value) for value in model.state_dict().values())]


@pytest.mark.parametrize(("dtype", "mode"), [("bfloat16", None), ("float16", None), ("float32", "bfloat16")])
def test_a_model_trains_to_the_same_bits(dtype, mode):
    (losses, *_), wgmma = in_both(lambda: train(dtype, mode))
    assert wgmma > 0
    assert np.isfinite(losses).all()


# ---- attention -----------------------------------------------------------------------------------------------------

CAUSAL = {"causal": True}
ATTENTION = {
    "tiles": ({"tq": 200, "tk": 200, "h": 1, "d": 64, "dv": 64}, CAUSAL),
    "tiles-of-128": ({"tq": 200, "tk": 200, "h": 1, "d": 128, "dv": 128}, CAUSAL),
    "keys-of-a-cache": ({"tq": 66, "tk": 200, "h": 1, "d": 128, "dv": 128}, CAUSAL),
    # The last block's second warpgroup has no rows, or keys, and passes more tiles than the ring has slots.
    "all-keys": ({"tq": 140, "tk": 140, "h": 1, "d": 64, "dv": 64}, {}),
    "grouped": ({"b": 2, "tq": 50, "tk": 70, "h": 4, "hkv": 2, "d": 64, "dv": 64}, CAUSAL),
    "window": ({"tq": 210, "tk": 210, "h": 1, "d": 64, "dv": 64}, {"causal": True, "window": 40}),
    "first-queries-see-nothing": ({"tq": 140, "tk": 66, "h": 1, "d": 64, "dv": 64}, CAUSAL),
    "a-tile-and-a-row": ({"tq": 65, "tk": 65, "h": 1, "d": 128, "dv": 128}, CAUSAL),
    "key-lengths": (
        {"b": 4, "tq": 70, "tk": 140, "h": 1, "d": 64, "dv": 64},
        {"causal": True, "key_lengths": np.array([140, 1, 64, 0]), "query_offset": np.array([70, 0, 3, 0])},
    ),
}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ATTENTION)
def test_attention(name, dtype):
    shape, options = ATTENTION[name]
    q, k, v, dout = operands(0, **shape)
    forward = in_both(lambda: results(dtype, q, k, v, **options))[1]
    found, wgmma = in_both(lambda: results(dtype, q, k, v, dout, **options))
    assert wgmma > forward > 0
    if "key_lengths" in options:
        return
    tq, tk = q.shape[1], k.shape[1]
    behind = np.arange(tk) - (np.arange(tq)[:, None] + tk - tq)
    attended = (behind <= 0) & (behind > -options.get("window", tq + tk)) if options else np.ones((tq, tk), bool)
    for which, got, expected in zip(
        ("out", "dq", "dk", "dv"), found, exact(dtype, q, k, v, dout, attended), strict=True
    ):
        assert is_near(got, expected, dtype), which


def allowed(*shape, seed=0):
    return np.random.default_rng(seed).random(shape) < 0.7


def all_but(row, key, *shape):
    mask = np.ones(shape, bool)
    mask[row, key] = False
    return mask


def added(*shape, seed=0):
    mask = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return np.where(allowed(*shape, seed=seed + 1), mask, -np.inf).astype(np.float32)


HEADS_OF_128 = {"tq": 70, "tk": 140, "h": 1, "d": 128, "dv": 128}
GROUPED = {"b": 2, "tq": 40, "tk": 70, "h": 4, "hkv": 2, "d": 64, "dv": 64}
MASKS = {
    "scores": ({"tq": 140, "tk": 130, "h": 1, "d": 64, "dv": 64}, allowed(140, 130), False),
    "scores-of-heads": (GROUPED, allowed(2, 4, 40, 70), True),
    "heads": (GROUPED, added(4, 40, 1), False),
    "keys": ({**GROUPED, "h": 2, "tq": 70}, allowed(2, 1, 1, 70), True),
    "added": (GROUPED, added(2, 1, 40, 70), False),
    "heads-of-128": (HEADS_OF_128, allowed(70, 140), True),
    "added-to-heads-of-128": (HEADS_OF_128, added(70, 140), False),
    # By a warp of one warpgroup, in one tile.
    "all-but-one": ({"tq": 130, "tk": 130, "h": 1, "d": 64, "dv": 64}, all_but(20, 70, 130, 130), False),
    "all-but-one-of-heads-of-128": (HEADS_OF_128, all_but(20, 70, 70, 140), False),
}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", MASKS)
def test_attention_with_a_mask(name, dtype):
    shape, mask, causal = MASKS[name]
    q, k, v, dout = operands(3, **shape)
    found, wgmma = in_both(lambda: results(dtype, q, k, v, dout, mask=mask, causal=causal))
    assert wgmma > 0
    tq, tk = q.shape[1], k.shape[1]
    attended = mask if mask.dtype == bool else np.isfinite(mask)
    if causal:
        attended = attended & (np.arange(tk) <= np.arange(tq)[:, None] + tk - tq)
    bias = 0.0 if mask.dtype == bool else np.where(np.isfinite(mask), mask, 0)
    for which, got, expected in zip(
        ("out", "dq", "dk", "dv"), found, exact(dtype, q, k, v, dout, attended, bias), strict=True
    ):
        assert is_near(got, expected, dtype), which


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_attention_adds_a_mask_of_its_dtype(dtype):
    q, k, v, dout = operands(4, **GROUPED)
    mask = added(40, 70)
    same = pf.tensor(mask, device=DEVICE).to(dtype)
    found, wgmma = in_both(lambda: results(dtype, q, k, v, dout, mask=same))
    assert wgmma > 0
    bias = rounded(dtype, np.where(np.isfinite(mask), mask, 0))
    for got, expected in zip(found, exact(dtype, q, k, v, dout, np.isfinite(mask), bias), strict=True):
        assert is_near(got, expected, dtype)


@pytest.mark.parametrize("width", [64, 128])
@pytest.mark.parametrize("bad", [np.nan, 3e38])
@pytest.mark.parametrize("kind", ["allowed", "added"])
def test_attention_leaves_out_what_a_mask_does(kind, bad, width):
    q, k, v, dout = operands(2, tq=130, tk=130, h=1, d=width, dv=width)
    mask = allowed(130, 130)
    mask[:, [3, 40, 129]] = False
    mask[[7, 64]] = False
    if kind == "added":
        mask = np.where(mask, np.float32(0), np.float32(-np.inf))
    expected = results("bfloat16", q, k, v, dout, mask=mask)
    k[:, [3, 40, 129]] = v[:, [3, 40, 129]] = bad
    q[:, [7, 64]] = dout[:, [7, 64]] = bad
    found, wgmma = in_both(lambda: results("bfloat16", q, k, v, dout, mask=mask))
    assert wgmma > 0
    for got, want in zip(found, expected, strict=True):
        assert np.isfinite(want).all()
        assert same_bits(got, want)


@pytest.mark.parametrize("width", [64, 128])
@pytest.mark.parametrize("mask", [None, np.ones((128, 128), bool), np.ones((1, 1, 128), np.float32)])
def test_tiles_that_are_attended_to_in_full_are_multiplied_by_wgmma(mask, width):
    arrays = operands(5, tq=128, tk=128, h=1, d=width, dv=width)
    cuda_device.schedule("lowest,early,count,sm90")
    before = cuda_device.kernel_counts()
    results("bfloat16", *arrays, mask=mask)
    after = cuda_device.kernel_counts()
    cuda_device.schedule("lowest,early")
    ran = {}
    for name, counts in after.items():
        risen = {key: count - before.get(name, {}).get(key, 0) for key, count in counts.items()}
        if risen["mma"] or risen["wgmma"]:
            ran[name] = risen["mma"]
    assert ran == {f"attention_{which}_sm90<T, {width}>": 0 for which in ("forward", "dq", "dk_dv")}


@pytest.mark.parametrize("mask", [None, np.ones((130, 130), bool), np.zeros((130, 130), np.float32)])
@pytest.mark.parametrize("bad", [np.inf, 3e38])
def test_attention_leaves_out_what_is_not_attended(bad, mask):
    """Values and keys beyond a row's own position, in a block that it attends to in part; queries and their gradients
    that are before a key. With a mask that leaves nothing out, too."""
    q, k, v, dout = operands(1, tq=130, tk=130, h=1, d=64, dv=64)
    options = {"causal": True, "mask": mask}
    whole = results("bfloat16", q, k, v, dout, **options)
    later, earlier = ([x.copy() for x in (q, k, v, dout)] for _ in range(2))
    for x in later[1:3]:
        x[:, 70:] = bad
    found, wgmma = in_both(lambda: results("bfloat16", *later, **options))
    assert wgmma > 0
    for got, expected in zip(found[:2], whole[:2], strict=True):
        assert same_bits(got[:, :70], expected[:, :70])
    earlier[0][:, :70] = earlier[3][:, :70] = bad
    found, _ = in_both(lambda: results("bfloat16", *earlier, **options))
    for got, expected in zip(found[2:], whole[2:], strict=True):
        assert same_bits(got[:, 70:], expected[:, 70:])


def test_attention_over_several_ranges_of_keys():
    """64 tiles are work enough that a block takes all ranges; strides are those of packed q, k, v."""
    packed = halves("bfloat16", 1, 66, 3, 32, 64)
    k, v = (halves("bfloat16", 1, 330, 32, 64, seed=seed) for seed in (1, 2))
    _, wgmma = in_both(lambda: [as_numpy(pf.ops.attention(packed[:, :, 0], k, v, causal=True))])
    assert wgmma > 0


@pytest.mark.parametrize("why", ["few-rows", "width", "group"])
def test_attention_that_goes_another_way(why):
    shape = {"tq": 70, "tk": 70, "h": 1, "d": 64, "dv": 64}
    shape |= {"few-rows": {"tq": 64}, "width": {"d": 72}, "group": {"h": 3, "tq": 30}}[why]
    q, k, v, _ = operands(2, **shape)
    assert in_both(lambda: results("bfloat16", q, k, v))[1] == 0


def test_each_kernel_is_counted_by_itself():
    a = halves("bfloat16", 1, 64, 1, 64)[0, :, 0]
    cuda_device.schedule("lowest,early,count")
    before, all_before = cuda_device.kernel_counts(), cuda_device.counts()
    as_numpy(pf.ops.relu(pf.ops.matmul(a, a)))
    after, all_after = cuda_device.kernel_counts(), cuda_device.counts()
    cuda_device.schedule("lowest,early")

    def rise(name: str, key: str) -> int:
        return after[name][key] - before.get(name, {}).get(key, 0)

    ran = [name for name in after if rise(name, "launches")]
    products = [name for name in ran if name.startswith("multiply_sm90")]
    assert len(products) == 1
    assert any("Relu" in name for name in ran)
    for key in ("wgmma", "operations", "global_bytes", "bulk_loads"):
        assert sum(rise(name, key) for name in ran) == all_after[key] - all_before[key] > 0
    assert rise(products[0], "wgmma") == all_after["wgmma"] - all_before["wgmma"]
    assert rise(products[0], "operations") >= 2 * 64**3


@pytest.mark.parametrize("device", ["sm80", "sm86", "sm90"])
def test_kernels_on_tensor_cores_have_no_bank_conflicts(device):
    """Of what copies, ldmatrix, load and store access in shared memory, whichever way operands lie there, and in
    attention's kernels for heads of 64, 128, and any width, with a mask and without. They fit into it on each device;
    sm_86, 89 and 120 have least."""
    square = halves("bfloat16", 72, 72)
    rows = {width: operands(0, tq=130, tk=130, h=1, d=width, dv=width) for width in (48, 64, 128)}
    cuda_device.schedule(f"lowest,early,plain,count,{device}")
    before = cuda_device.kernel_counts()
    for a, b in ((False, False), (False, True), (True, False), (True, True)):
        as_numpy(pf.ops.matmul(square, square, transpose_a=a, transpose_b=b))
    as_numpy(pf.ops.linear(square[:5], square))
    for arrays in rows.values():
        results("bfloat16", *arrays, causal=True)
        results("bfloat16", *arrays, mask=allowed(130, 130))
    after = cuda_device.kernel_counts()
    conflicts = {}
    for name, counts in after.items():
        risen = {key: count - before.get(name, {}).get(key, 0) for key, count in counts.items()}
        if risen["mma"] or risen["wgmma"]:
            conflicts[name] = risen["wavefronts"] - risen["ideal_wavefronts"]
    kernels = {name.split("<")[0] for name in conflicts}
    own = {
        "sm80": {"attention_forward_sm80", "attention_dq_sm80"},
        "sm90": {"multiply_sm90", "attention_forward_sm90", "attention_dk_dv_sm90"},
    }
    own["sm86"] = own["sm80"]
    assert kernels >= own[device] | {"multiply_sm80", "multiply_thin", "attention_dk_dv_sm80"}
    assert set(conflicts.values()) == {0}, conflicts
