"""The same bits whatever the threads, the batch, the neighbours, the cache or the instruction set."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from case_runner import make_inputs, run_pyformer
from cases import BENCH_CASES
from tolerance import same_bits

import pyformer as pf
from pyformer import _core

ISAS = [isa for isa in _core.supported_isas() if isa != "ref"]
THREADS = (1, 2, 3, 4, 7)


def small_gpt(**options):
    pf.manual_seed(3)
    config = pf.models.GPTConfig(vocab_size=61, context_length=160, num_layers=2, num_heads=3, embed_dim=48, **options)
    return pf.models.GPT(config)


def gradients(model, ids, targets):
    for p in model.parameters():
        p.grad = None
    pf.manual_seed(9)
    loss = model.loss(ids, targets)
    loss.backward()
    return [loss.numpy().tobytes(), *(p.grad.numpy().tobytes() for p in model.parameters())]


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return rng.integers(0, 61, (5, 150)), rng.integers(0, 61, (5, 150))


def test_logits_and_gradients_over_threads(batch):
    model = small_gpt(dropout=0.1).train()
    results = []
    for threads in THREADS:
        pf.set_num_threads(threads)
        results.append(gradients(model, *batch))
    assert all(r == results[0] for r in results[1:])


def test_logits_and_gradients_over_instruction_sets(batch):
    model = small_gpt()
    results = []
    for isa in ISAS:
        _core.set_isa(isa)
        with pf.no_grad():
            logits = model(batch[0]).numpy().tobytes()
        results.append([logits, *gradients(model, *batch)])
    assert all(r == results[0] for r in results[1:])


@pytest.mark.parametrize("rows", [1, 2, 3, 8, 32])
def test_a_row_does_not_see_its_neighbours(rows):
    model = small_gpt().eval()
    rng = np.random.default_rng(1)
    ids = rng.integers(0, 61, (rows, 33))
    with pf.no_grad():
        together = model(ids).numpy()
        for i in range(rows):
            assert same_bits(together[i : i + 1], model(ids[i : i + 1]).numpy())


def test_a_position_does_not_see_what_comes_later():
    model = small_gpt().eval()
    ids = np.random.default_rng(1).integers(0, 61, (1, 130))
    with pf.no_grad():
        whole = model(ids).numpy()
        for length in (1, 2, 15, 16, 17, 63, 64, 65, 129):
            assert same_bits(whole[:, :length], model(ids[:, :length]).numpy())


def test_padding_changes_nothing():
    model = small_gpt().eval()
    ids = np.random.default_rng(1).integers(0, 61, (3, 40))
    lengths = [40, 7, 23]
    with pf.no_grad():
        padded = model(ids, lengths=lengths).numpy()
        for row, length in enumerate(lengths):
            alone = model(ids[row : row + 1, :length]).numpy()
            assert same_bits(padded[row : row + 1, :length], alone)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("k", [1, 255, 256, 257, 513])
def test_matmul_rows_do_not_depend_on_how_many(k, isa):
    _core.set_isa(isa)
    rng = np.random.default_rng(k)
    a, b = rng.standard_normal((70, k)).astype("f"), rng.standard_normal((k, 67)).astype("f")
    bt = pf.tensor(np.ascontiguousarray(b.T))
    whole = pf.ops.matmul(pf.tensor(a), pf.tensor(b)).numpy()
    packed = _core.PackedLinear(bt)
    for m in range(1, 71):
        rows = pf.tensor(a[:m])
        assert same_bits(pf.ops.matmul(rows, pf.tensor(b)).numpy(), whole[:m])
        assert same_bits(pf.ops.matmul(rows, bt, transpose_b=True).numpy(), whole[:m])
        assert same_bits(pf.ops.linear(rows, bt).numpy(), whole[:m])
        assert same_bits(packed(rows).numpy(), whole[:m])
        at = pf.tensor(np.ascontiguousarray(a[:m].T))
        assert same_bits(pf.ops.matmul(at, pf.tensor(b), transpose_a=True).numpy(), whole[:m])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("k", [5, 300, 1100])
def test_rows_read_in_place_give_the_sums_of_plain_loops(k, isa):
    """Rows of x are read where they lie, or packed; sums of long k wait in the result, which may be added to, too."""
    rng = np.random.default_rng(k)

    def drawn(*shape):
        return pf.tensor(rng.standard_normal(shape).astype("f"))

    inputs = [(drawn(m, k), drawn(n, k), drawn(n), drawn(m, n)) for m, n in [(5, 37), (13, 16), (64, 48), (131, 100)]]
    sequence, w_ih, w_hh = drawn(3, 3, 8), drawn(4 * k, 8), drawn(4 * k, k)

    def results():
        for x, weight, bias, residual in inputs:
            yield pf.ops.linear(x, weight, bias, "relu", residual).numpy()
            yield pf.ops.linear(x, weight, bias).numpy()
            yield pf.ops.linear(x, weight).numpy()
            yield pf.ops.matmul(x, weight, transpose_b=True).numpy()
        yield pf.ops.lstm(sequence, w_ih, w_hh)[0].numpy()

    _core.set_isa("ref")
    expected = list(results())
    _core.set_isa(isa)
    assert all(same_bits(got, wanted) for got, wanted in zip(results(), expected, strict=True))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["f", "d"])
def test_extremes_of_rows_are_the_first_of_equals_and_the_first_nan(dtype, isa):
    _core.set_isa(isa)
    rng = np.random.default_rng(6)
    for n in [1, 7, 16, 31, 64, 129, 200, 768]:
        a = rng.integers(-3, 4, (60, n)).astype(dtype)
        a[a == 0] *= rng.choice([-1, 1], (a == 0).sum())
        a[:20][rng.random((20, n)) < 0.02] = np.nan
        a[20:30][rng.random((10, n)) < 0.3] = np.inf
        a[30:40] = -np.inf
        a[40:45] = np.inf
        x = pf.tensor(a)
        for value, index, first in [
            (pf.ops.max(x, -1), pf.ops.argmax(x, -1), a.argmax(-1)),
            (pf.ops.min(x, -1), pf.ops.argmin(x, -1), a.argmin(-1)),
        ]:
            np.testing.assert_array_equal(index.numpy(), first)
            assert same_bits(value.numpy(), np.take_along_axis(a, first[:, None], -1)[:, 0])


def test_matmul_is_the_documented_sum():
    """((p0 + p1) + p2), p_i an FMA chain over 256 k: emulated in float64."""
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((3, 600)).astype("f"), rng.standard_normal((600, 5)).astype("f")
    total = None
    for start in range(0, 600, 256):
        chain = np.zeros((3, 5), np.float32)
        for k in range(start, min(start + 256, 600)):
            product = a[:, k : k + 1].astype("d") * b[k].astype("d")  # exact
            chain = (product + chain).astype(np.longdouble).astype(np.float32)
        total = chain if total is None else total + chain
    got = pf.ops.matmul(pf.tensor(a), pf.tensor(b)).numpy()
    assert np.mean(got == total) > 0.9  # double rounding may differ in the last bit now and then
    np.testing.assert_allclose(got, total, rtol=3e-7, atol=1e-6)


ALL = ("x", "up", "up_bias", "down", "down_bias")


@pytest.mark.parametrize("isa", _core.supported_isas())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("activation", "wanted"),
    [
        *((name, ALL) for name in _core.activations()),
        *(("gelu_tanh", (name,)) for name in ALL),
        ("none", ("down",)),
    ],
)
def test_mlp_is_the_operations_that_it_is_made_of(activation, wanted, dtype, isa):
    _core.set_isa(isa)
    rng = np.random.default_rng(0)
    shapes = {"x": (70, 20), "up": (50, 20), "up_bias": (50,), "down": (20, 50), "down_bias": (20,)}
    arrays = {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}
    arrays["x"][::7] *= 100.0  # far beyond where the derivative's argument is bounded
    arrays["x"][1::7] *= 1e-30
    dout = pf.tensor(rng.standard_normal((70, 20)).astype(dtype))

    def results(run):
        t = {name: pf.tensor(a, requires_grad=name in wanted) for name, a in arrays.items()}
        out = run(**t)
        out.backward(dout)
        return [out.detach().numpy(), *(t[name].grad.numpy() for name in wanted)]

    def apart(x, up, up_bias, down, down_bias):
        hidden = pf.ops.linear(x, up, up_bias, activation=activation)
        return pf.ops.linear(hidden, down, down_bias, residual=x)

    def together(x, up, up_bias, down, down_bias):
        return pf.ops.mlp(x, up, up_bias, down, down_bias, activation=activation, residual=x)

    assert all(same_bits(a, b) for a, b in zip(results(apart), results(together), strict=True))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", _core.activations()[1:])
def test_a_fused_activation_is_the_separate_one(name, dtype):
    """Also where the gradient that comes back is infinite or NaN: what ReLU stops is 0, not 0 times infinity."""
    separate = (lambda x: pf.ops.gelu(x, "tanh")) if name == "gelu_tanh" else getattr(pf.ops, name)
    rng = np.random.default_rng(3)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in ((40, 20), (30, 20), (10, 30))]
    dout, dhidden = (rng.choice([1.0, -1.0, 0.0, np.inf, -np.inf, np.nan], (40, n)).astype(dtype) for n in (10, 30))

    def results(run, dout):
        tensors = [pf.tensor(a, requires_grad=True) for a in arrays]
        out = run(*tensors)
        out.backward(pf.tensor(dout))
        return [out.detach().numpy(), *(t.grad.numpy() for t in tensors if t.grad is not None)]

    def linear(x, up, down):
        return pf.ops.linear(x, up, activation=name)

    def linear_apart(x, up, down):
        return separate(pf.ops.linear(x, up))

    def mlp(x, up, down):
        return pf.ops.mlp(x, up, None, down, None, activation=name)

    def mlp_apart(x, up, down):
        return pf.ops.linear(separate(pf.ops.linear(x, up)), down)

    for fused, apart, gradient in ((linear, linear_apart, dhidden), (mlp, mlp_apart, dout)):
        for a, b in zip(results(fused, gradient), results(apart, gradient), strict=True):
            assert same_bits(a, b)


def test_long_sequences_over_threads():
    rng = np.random.default_rng(3)
    qkv = rng.standard_normal((1, 1500, 3, 2, 16)).astype("f")
    dout = rng.standard_normal((1, 1500, 2, 16)).astype("f")
    results = []
    for threads in THREADS:
        pf.set_num_threads(threads)
        x = pf.tensor(qkv, requires_grad=True)
        out = pf.ops.attention_packed(x, causal=True)
        out.backward(pf.tensor(dout))
        results.append(out.numpy().tobytes() + x.grad.numpy().tobytes())
    assert all(r == results[0] for r in results[1:])


@pytest.mark.parametrize("queries", [1, 2, 3, 4, 5])
def test_the_last_queries_alone_are_rows_of_the_whole(queries):
    rng = np.random.default_rng(5)
    q, k, v = (rng.standard_normal((2, 600, 3, 24)).astype("f") for _ in range(3))
    whole = pf.ops.attention(pf.tensor(q), pf.tensor(k), pf.tensor(v), causal=True).numpy()
    for keys in (5, 64, 255, 256, 257, 512, 513, 600):
        last = slice(keys - queries, keys)
        alone = pf.ops.attention(pf.tensor(q[:, last]), pf.tensor(k[:, :keys]), pf.tensor(v[:, :keys]), causal=True)
        assert same_bits(alone.numpy(), whole[:, last])
        cached = pf.ops.attention(
            pf.tensor(q[:, last]), pf.tensor(k), pf.tensor(v), causal=True, key_lengths=pf.tensor(np.full(2, keys))
        )
        assert same_bits(cached.numpy(), whole[:, last])


def test_alignment_does_not_matter():
    rng = np.random.default_rng(4)
    base = rng.standard_normal(1 + 64 * 48).astype("f")
    w = pf.tensor(rng.standard_normal((40, 48)).astype("f"))
    odd = pf.asarray(base[1:].reshape(64, 48))
    even = pf.tensor(base[1:].reshape(64, 48))
    for op in (lambda x: pf.ops.linear(x, w), pf.ops.softmax, pf.ops.layer_norm, pf.ops.gelu):
        assert same_bits(op(odd).numpy(), op(even).numpy())


LARGE = {  # outputs from 8 or 32 MiB on are written past the caches, in another loop
    "softmax": lambda x, w: pf.ops.softmax(x),
    "softmax-axis-0": lambda x, w: pf.ops.softmax(x, 0),
    "log_softmax": lambda x, w: pf.ops.log_softmax(x),
    "log_softmax-axis-0": lambda x, w: pf.ops.log_softmax(x, 0),
    "layer_norm": lambda x, w: pf.ops.layer_norm(x, w, w),
    "rms_norm": lambda x, w: pf.ops.rms_norm(x, w),
    "gelu": lambda x, w: pf.ops.gelu(x),
    "gelu-tanh": lambda x, w: pf.ops.gelu(x, "tanh"),
    "exp": lambda x, w: pf.ops.exp(x),
    "multiply": lambda x, w: x * w,
    "maximum": lambda x, w: pf.ops.maximum(x, w),
    "cross_entropy": lambda x, w: pf.ops.cross_entropy(x, pf.tensor(np.arange(x.shape[0]) % 1999)),
    "sum": lambda x, w: pf.ops.sum(x, 1),
    "mean-of-all": lambda x, w: pf.ops.mean(x),
    "mean-axis-0": lambda x, w: pf.ops.mean(x, 0),
    "max-of-all": lambda x, w: pf.ops.max(x),
}


@pytest.mark.parametrize("name", LARGE)
def test_large_outputs_equal_the_reference(name):
    rows = 4203 if name in ("exp", "multiply", "maximum", "sum", "mean-of-all", "mean-axis-0") else 1101
    rng = np.random.default_rng(4)
    arrays = [rng.standard_normal(shape, np.float32) for shape in ((rows, 1999), (1999,))]
    results = []
    for isa in ["ref", *ISAS]:
        _core.set_isa(isa)
        x, w = (pf.tensor(a, requires_grad=True) for a in arrays)
        out = LARGE[name](x, w)
        _core.backward_many([out], [pf.tensor(np.random.default_rng(5).standard_normal(out.shape).astype(np.float32))])
        results.append([out.detach().numpy(), x.grad.numpy(), None if w.grad is None else w.grad.numpy()])
    for values in results[1:]:
        for got, expected in zip(values, results[0], strict=True):
            assert got is expected or same_bits(got, expected)


ROWS_BEYOND_A_BLOCK = {  # a row does not fit in the memory that kernels keep for one, and outputs are streamed
    "softmax": lambda x, w: pf.ops.softmax(x),
    "log_softmax": lambda x, w: pf.ops.log_softmax(x),
    "layer_norm": lambda x, w: pf.ops.layer_norm(x, w, w),
    "rms_norm": lambda x, w: pf.ops.rms_norm(x, w),
    "cross_entropy": lambda x, w: pf.ops.cross_entropy(x, pf.tensor(np.arange(x.shape[0])), reduction="none"),
}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ROWS_BEYOND_A_BLOCK)
def test_long_streamed_rows_are_those_computed_alone(name, isa):
    rng = np.random.default_rng(4)
    arrays = [rng.standard_normal(shape, np.float32) for shape in ((240, 9001), (9001,))]
    dout = rng.standard_normal((240, 9001), np.float32)

    def run(rows):
        x, w = (pf.tensor(a, requires_grad=True) for a in (arrays[0][rows], arrays[1]))
        out = ROWS_BEYOND_A_BLOCK[name](x, w)
        out.backward(pf.tensor(dout[rows] if out.ndim == 2 else np.ones(out.shape, np.float32)))
        return out.detach().numpy(), x.grad.numpy()

    _core.set_isa(isa)
    whole, dx = run(slice(None))
    assert dx.nbytes > 8 << 20
    for row in (0, 1, 2):  # targets of cross_entropy count from the first row
        alone, dx_alone = run(slice(0, row + 1))
        assert same_bits(whole[: row + 1], alone)
        assert same_bits(dx[: row + 1], dx_alone)


@pytest.mark.parametrize("isa", ISAS[-2:])
@pytest.mark.parametrize(("m", "n"), [(520, 600), (600, 520)])
def test_products_beyond_the_shared_cache(m, n, isa):
    """Both operands are packed in parts of at most 512 vectors, k in two blocks: the bits of smaller products."""
    _core.set_isa(isa)
    rng = np.random.default_rng(m)
    a, b = rng.standard_normal((m, 2048)), rng.standard_normal((n, 2048))
    at, bt = pf.tensor(a), pf.tensor(b)
    whole = pf.ops.linear(at, bt).numpy()
    assert same_bits(_core.PackedLinear(bt)(at).numpy(), whole)
    assert same_bits(pf.ops.matmul(pf.tensor(a.T.copy()), pf.tensor(b.T.copy()), transpose_a=True).numpy(), whole)
    for i in range(0, m, 152):
        for j in range(0, n, 152):
            a_part, b_part = a[i : i + 152], b[j : j + 152]
            wanted = whole[i : i + 152, j : j + 152]
            assert same_bits(pf.ops.linear(pf.tensor(a_part), pf.tensor(b_part)).numpy(), wanted)
            at_part, bt_part = pf.tensor(a_part.T.copy()), pf.tensor(b_part.T.copy())  # small: read where they lie
            assert same_bits(pf.ops.matmul(at_part, bt_part, transpose_a=True).numpy(), wanted)


@pytest.mark.parametrize("isa", ISAS[-2:])
@pytest.mark.parametrize(
    ("m", "k", "n"),
    [
        (1100, 512, 250),  # the shared operand is 500 KiB or, filled up, 512: each thread packs it for itself
        (1100, 512, 260),  # a panel more: packed for all
        (250, 512, 1100),
        (120, 304, 912),  # in place over 1 MiB, few vectors of the other
        (480, 304, 912),  # in place and shared
        (912, 304, 480),
    ],
)
def test_whichever_operand_is_shared(m, k, n, isa):
    """Layouts and threads decide which operand tasks share and who packs it; none of it is in the bits."""
    _core.set_isa(isa)
    rng = np.random.default_rng(m)
    a, b = rng.standard_normal((m, k)).astype("f"), rng.standard_normal((k, n)).astype("f")
    rows, columns = pf.tensor(a), pf.tensor(b)
    rows_across, columns_along = pf.tensor(a.T.copy()), pf.tensor(b.T.copy())
    alone = pf.ops.matmul(rows[m // 2 : m // 2 + 1], columns).numpy()
    results = []
    for threads in (1, 2, 3):
        pf.set_num_threads(threads)
        results += [
            pf.ops.matmul(rows, columns),
            pf.ops.matmul(rows_across, columns, transpose_a=True),
            pf.ops.linear(rows, columns_along),
            pf.ops.matmul(rows_across, columns_along, transpose_a=True, transpose_b=True),
        ]
    results = [r.numpy() for r in results]
    assert all(same_bits(r, results[0]) for r in results[1:])
    assert same_bits(results[0][m // 2 : m // 2 + 1], alone)
    np.testing.assert_allclose(results[0], a.astype("d") @ b.astype("d"), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("isa", ISAS[-2:])
@pytest.mark.parametrize("op", ["lstm", "gru"])
def test_recurrences_wider_than_a_block_of_k(op, isa):
    """Sums that are added to what is there wait in memory of their own between blocks of k; one row has no blocks."""
    _core.set_isa(isa)
    gates, hidden = {"lstm": 4, "gru": 3}[op], 1100
    rng = np.random.default_rng(6)
    shapes = ((16, 2, 3), (gates * hidden, 3), (gates * hidden, hidden))
    x, w_ih, w_hh = (pf.tensor(rng.standard_normal(shape, np.float32) * 0.1) for shape in shapes)
    together = getattr(pf.ops, op)(x, w_ih, w_hh)[0].numpy()
    for row in (0, 15):
        assert same_bits(getattr(pf.ops, op)(x[row : row + 1], w_ih, w_hh)[0].numpy(), together[row : row + 1])


TABLES = """
import hashlib
import numpy as np
import pyformer as pf
from pyformer import nn
from pyformer.models import derivation, dit
from pyformer.generation import Sampler

pf.manual_seed(0)
retention = nn.MultiScaleRetention(48, 3)
drawn = Sampler(seed=0)
logits = np.random.default_rng(0).standard_normal(50_000)
tables = [pf.ops.rope_frequencies(dim, base).numpy() for dim in (64, 128) for base in (1e4, 5e5)]
tables += [nn.sinusoidal_positions(512, 64), nn.alibi_slopes(12), retention.decay, retention.frequencies]
tables += [retention(pf.ones(1, 40, 48), form="parallel")[0].numpy(), derivation.frequencies(96)]
tables += [dit._time_waves(pf.rand(9)).numpy()]
tables += [np.array([drawn(logits) for _ in range(20)])]
print([hashlib.sha256(table.tobytes()).hexdigest() for table in tables])
"""


def test_tables_do_not_depend_on_numpys_instruction_set():
    """NumPy's power, sin and exp give other last bits with AVX-512 than without."""
    found = set()
    for disabled in ("", "X86_V4 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"):
        environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": disabled}
        command = [sys.executable, "-W", "ignore", "-c", TABLES]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.add(done.stdout)
    assert len(found) == 1


@pytest.mark.parametrize("case", [c for c in BENCH_CASES if c.bytes < 5e7 and c.flops < 2e9], ids=lambda case: case.id)
def test_work_large_enough_to_split_over_threads(case):
    arrays = make_inputs(case, "float32")
    results = []
    for threads in (1, 2, 7):
        pf.set_num_threads(threads)
        values, grads = run_pyformer(case, arrays)
        results.append([*(v.tobytes() for v in values), *(g.tobytes() for g in grads.values())])
    assert all(r == results[0] for r in results[1:])
