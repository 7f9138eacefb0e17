"""The documented sum of bfloat16's products (base/bfloat16_dot.h), against exact fractions, and the same bits of it on
every instruction set."""

from __future__ import annotations

import math
import os
import platform
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from case_runner import as_tuple, make_inputs, projections
from cases import TEST_CASES
from tolerance import same_bits

import pyformer as pf
from pyformer import _core, ops

TINY = Fraction(1, 2**126)  # the smallest normal float32


def rounded(exact: Fraction) -> float:
    """To 24 bits, ties to even, whatever the exponent; zero where that is below 2^-126."""
    exponent = math.floor(math.log2(abs(exact))) if exact else 0
    while abs(exact) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    while exact and abs(exact) < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** (exponent - 23)
    value = round(exact / unit) * unit  # Fraction rounds ties to even
    return float(value) if abs(value) >= TINY else 0.0


def flush(x: float) -> float:
    return x if abs(x) >= 2.0**-126 else 0.0


def documented(a: np.ndarray, b: np.ndarray) -> float:
    a, b = [flush(float(v)) for v in a], [flush(float(v)) for v in b]
    c = 0.0
    for start in range(0, len(a), 32):
        chains = [0.0, 0.0]
        for k in range(start, min(start + 32, len(a))):
            chains[k % 2] = rounded(Fraction(a[k]) * Fraction(b[k]) + Fraction(chains[k % 2]))
        s = rounded(Fraction(chains[0]) + Fraction(chains[1]))
        c = rounded(Fraction(c) + Fraction(s))
    return c


def bfloat16(array) -> pf.Tensor:
    return pf.tensor(np.asarray(array, np.float32)).to("bfloat16")


def product(a: pf.Tensor, b: pf.Tensor) -> np.ndarray:
    """float32 sums: the gradient of a parameter is not rounded to 16 bits."""
    w = pf.tensor(np.zeros((b.shape[1], a.shape[0]), np.float32)).to("bfloat16")
    w.requires_grad = True
    x = pf.tensor(b.to("float32").numpy()).to("bfloat16")  # (k, n)
    out = ops.linear(pf.tensor(a.to("float32").numpy().T.copy()).to("bfloat16"), w)  # (k, n)
    out.backward(x)
    return w.grad.numpy().T


REGIMES = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "wide": lambda rng, shape: rng.standard_normal(shape) * 2.0 ** rng.integers(-30, 30, shape),
    "around the smallest normal": lambda rng, shape: rng.standard_normal(shape) * 2.0 ** rng.integers(-66, -60, shape),
    "denormal operands": lambda rng, shape: rng.standard_normal(shape) * 2.0 ** rng.integers(-130, 3, shape),
}
# Those that have kernels for it; the portable one leaves it to ref.
ISAS = [isa for isa in _core.supported_isas() if isa not in ("ref", "portable")]


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("k", [1, 2, 31, 32, 33, 70, 300])
def test_is_the_documented_sum(k, regime):
    rng = np.random.default_rng(k)
    a = bfloat16(REGIMES[regime](rng, (4, k)))
    b = bfloat16(REGIMES[regime](rng, (k, 5)))
    wide_a, wide_b = a.to("float32").numpy(), b.to("float32").numpy()
    expected = np.array([[documented(row, column) for column in wide_b.T] for row in wide_a])
    got = product(a, b)
    np.testing.assert_array_equal(got.astype(np.float64), expected)
    # What is stored in 16 bits is the same sum, rounded once.
    once = pf.tensor(expected.astype(np.float32)).to("bfloat16").to("float32").numpy()
    np.testing.assert_array_equal(ops.matmul(a, b).to("float32").numpy(), once)
    np.testing.assert_array_equal(ops.matmul(b, a, transpose_a=True, transpose_b=True).to("float32").numpy(), once.T)
    np.testing.assert_array_equal(ops.linear(a, bfloat16(wide_b.T)).to("float32").numpy(), once)


def test_a_sum_just_below_the_smallest_normal_is_zero():
    """2^-126 - 2^-150 with 24 bits whatever the exponent; among denormals it would round to 2^-126."""
    a, b = bfloat16([[1.0, 0.0, -(2.0**-24), 0.0]]), bfloat16([[2.0**-126], [0.0], [2.0**-126], [0.0]])
    assert product(a, b) == 0.0
    a = bfloat16([[1.0, 0.0, -(2.0**-25), 0.0]])
    assert product(a, b) == np.float32(2.0**-126)


@pytest.mark.parametrize("isa", _core.supported_isas())
def test_the_same_in_every_set_and_for_any_rows(isa):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((20, 100)), rng.standard_normal((30, 100))
    _core.set_isa("ref")
    whole = ops.linear(bfloat16(a), bfloat16(b)).to("float32").numpy()
    _core.set_isa(isa)
    packed = _core.PackedLinear(bfloat16(b))
    for rows in (1, 7, 20):
        for run in (lambda x: ops.linear(x, bfloat16(b)), packed):
            np.testing.assert_array_equal(run(bfloat16(a[:rows])).to("float32").numpy(), whole[:rows])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_epilogue_acts_on_the_sum_and_one_rounding_follows(dtype):
    rng = np.random.default_rng(1)

    def half(*shape):
        return pf.tensor(rng.standard_normal(shape).astype(np.float32)).to(dtype)

    x, w, bias, residual = half(9, 32), half(11, 32), half(11), half(9, 11)
    got = ops.linear(x, w, bias, activation="gelu", residual=residual)
    assert str(got.dtype).endswith(dtype)
    wide = [t.to("float32") for t in (x, w, bias, residual)]
    if dtype == "float16":
        expected = ops.linear(*wide[:3], activation="gelu", residual=wide[3])
    else:  # the sum is another
        sums = np.array([[documented(r, c) for c in wide[1].numpy()] for r in wide[0].numpy()], np.float32)
        expected = ops.gelu(pf.tensor(sums) + wide[2]) + wide[3]
    np.testing.assert_array_equal(got.to("float32").numpy(), expected.to(dtype).to("float32").numpy())


def test_gradients_of_parameters_are_float32():
    rng = np.random.default_rng(1)
    x, w = bfloat16(rng.standard_normal((70, 8))), bfloat16(rng.standard_normal((5, 8)))
    bias = bfloat16(rng.standard_normal(5))
    for tensor in (x, w, bias):
        tensor.requires_grad = True
    ops.linear(x, w, bias, activation="silu").backward(bfloat16(rng.standard_normal((70, 5))))
    for tensor in (w, bias):
        grad = tensor.grad
        assert str(grad.dtype).endswith("float32")
        assert not np.array_equal(grad.to("bfloat16").to("float32").numpy(), grad.numpy())


# ---- the sets that have kernels -----------------------------------------------------------------------------------


def with_infinities(rng, shape):
    """Also NaN, as infinity times 0 and infinity minus infinity."""
    values = rng.standard_normal(shape)
    values[rng.random(shape) < 0.02] = np.inf
    values[rng.random(shape) < 0.01] = -np.inf
    values[rng.random(shape) < 0.01] = np.nan
    values[rng.random(shape) < 0.05] = 0.0
    return values


def near_the_largest(rng, shape):
    return rng.standard_normal(shape) * 2.0 ** rng.integers(55, 65, shape)


SHAPES = [
    (1, 1, 1), (1, 40, 33), (7, 31, 5), (16, 32, 16), (17, 33, 31), (31, 64, 65), (33, 95, 32), (70, 129, 47), (3, 0, 4)
]  # fmt: skip


def stored(array: np.ndarray, transposed: bool) -> pf.Tensor:
    return bfloat16(array.T.copy() if transposed else array)


def results(a: np.ndarray, b: np.ndarray, *, ta=False, tb=False) -> list[np.ndarray]:
    """The product rounded, and the gradients of a random dout, which are not."""
    a, b = stored(a, ta), stored(b, tb)
    a.requires_grad = b.requires_grad = True
    out = ops.matmul(a, b, transpose_a=ta, transpose_b=tb)
    out.backward(bfloat16(np.random.default_rng(5).standard_normal(out.shape)))
    return [out.detach().to("float32").numpy(), a.grad.numpy(), b.grad.numpy()]


def in_sets(run, isas=ISAS) -> dict[str, list[np.ndarray]]:
    found = {}
    for isa in ("ref", *isas):
        _core.set_isa(isa)
        found[isa] = run()
    return found


def assert_all_equal(found: dict[str, list[np.ndarray]], what=""):
    for isa, values in found.items():
        for i, (value, expected) in enumerate(zip(values, found["ref"], strict=True)):
            assert same_bits(value, expected), f"{what}: result {i} of {isa} differs from ref's"


@pytest.mark.parametrize("isa", ISAS)
def test_each_set_uses_its_own_kernels(isa):
    """Where the check at the start fails, another's stand in, and comparing sets would compare nothing."""
    _core.set_isa(isa)
    assert _core.bfloat16_isa() == isa


@pytest.mark.parametrize("ta", [False, True])
@pytest.mark.parametrize("tb", [False, True])
@pytest.mark.parametrize("regime", [*REGIMES, "infinities", "near the largest"])
def test_products_have_the_same_bits_in_every_set(regime, ta, tb):
    make = {"infinities": with_infinities, "near the largest": near_the_largest, **REGIMES}[regime]
    for m, k, n in SHAPES:
        rng = np.random.default_rng(m)
        a, b = make(rng, (m, k)), make(rng, (k, n))
        assert_all_equal(in_sets(lambda a=a, b=b: results(a, b, ta=ta, tb=tb)), f"{m} x {k} x {n}")


@pytest.mark.parametrize(("m", "k", "n"), [(40, 5000, 45), (3, 2100, 90), (90, 2100, 3), (600, 70, 40), (40, 70, 600)])
def test_long_sums_and_blocks(m, k, n):
    rng = np.random.default_rng(m)
    a, b = rng.standard_normal((m, k)), rng.standard_normal((k, n))
    assert_all_equal(in_sets(lambda: results(a, b, ta=True)))
    assert_all_equal(in_sets(lambda: results(a, b, tb=True)))


@pytest.mark.parametrize("isa", ISAS)
def test_threads_batch_and_packing_change_nothing(isa):
    _core.set_isa(isa)
    rng = np.random.default_rng(0)
    a, weight = rng.standard_normal((300, 600)), bfloat16(rng.standard_normal((700, 600)))
    pf.set_num_threads(1)
    whole = ops.linear(bfloat16(a), weight).to("float32").numpy()
    packed = _core.PackedLinear(weight)
    for threads in (1, 2, 3, 7):
        pf.set_num_threads(threads)
        assert same_bits(ops.linear(bfloat16(a), weight).to("float32").numpy(), whole)
        assert same_bits(packed(bfloat16(a)).to("float32").numpy(), whole)
        for first, rows in ((0, 1), (5, 3), (17, 40), (150, 150)):
            part = bfloat16(a[first : first + rows])
            for run in (packed, lambda x: ops.linear(x, weight)):
                assert same_bits(run(part).to("float32").numpy(), whole[first : first + rows])


@pytest.mark.parametrize("isa", ISAS)
def test_results_that_are_written_past_the_caches(isa):
    """From 8 MiB on: the bits of the same rows in parts, which are not; the value before the activation, too."""
    _core.set_isa(isa)
    rng = np.random.default_rng(1)
    rows, k, cols = 1040, 24, 2064
    x, weight, bias, dout = (
        rng.standard_normal(shape).astype(np.float32) for shape in ((rows, k), (cols, k), (cols,), (rows, cols))
    )

    def run(part: slice) -> list[np.ndarray]:
        given = pf.tensor(x[part], requires_grad=True)
        with pf.autocast("bfloat16"):
            out = ops.linear(given, pf.tensor(weight), pf.tensor(bias), activation="gelu")
        out.backward(pf.tensor(dout[part]))
        return [out.detach().numpy().copy(), given.grad.numpy().copy()]

    parts = [run(slice(first, first + 520)) for first in (0, 520)]
    for whole, joined in zip(run(slice(0, rows)), map(np.concatenate, zip(*parts, strict=True)), strict=True):
        assert same_bits(whole, joined)


BFLOAT16_OPS = (
    *("matmul", "linear", "mlp", "norm_linear", "linear_cross_entropy", "gru", "lstm", "cfc", "retention"),
    *("attention", "attention_packed"),
)


def run_in_bfloat16(case) -> list[np.ndarray]:
    """Outputs and gradients, in memory pre-filled with NaN between guard bands."""
    _core.set_guard_mode(True)
    tensors = {}
    for key, value in make_inputs(case, "float32").items():
        tensors[key] = bfloat16(value) if value.dtype.kind == "f" else pf.tensor(value)
        tensors[key].requires_grad = key in case.grads
    outputs = as_tuple(case.run(pf, **tensors))
    wanted = [o for o in outputs if o.requires_grad]
    douts = projections([o.detach().to("float32").numpy() for o in wanted], "float32")
    _core.backward_many(wanted, [pf.tensor(d).to(o.dtype) for d, o in zip(douts, wanted, strict=True)])
    values = [o.detach().to("float32").numpy().copy() for o in outputs]
    values += [tensors[key].grad.to("float32").numpy().copy() for key in case.grads]
    _core.set_guard_mode(False)
    assert _core.guard_violations() == 0, f"{case.id}: wrote outside an array"
    return values


@pytest.mark.parametrize("case", [c for c in TEST_CASES if c.op in BFLOAT16_OPS], ids=lambda case: case.id)
def test_cases_have_the_same_bits_in_every_set(case):
    assert_all_equal(in_sets(lambda: run_in_bfloat16(case)), case.id)


@pytest.mark.parametrize("isa", ISAS)
def test_the_callers_float_mode_is_given_back(isa):
    """Denormals are zeros within these products only."""
    _core.set_isa(isa)
    tiny = pf.tensor(np.full(4, 1e-40, np.float32))
    ops.matmul(bfloat16(np.ones((40, 40))), bfloat16(np.ones((40, 40))))
    assert (tiny * 1.0).numpy().tolist() == [np.float32(1e-40)] * 4
    assert np.float32(1e-40) * np.float32(0.5) != 0
    # A sum that the bias makes denormal stays one, as all that follows the sum is plain float32.
    bias = bfloat16(np.full(40, 1e-39))
    x, w = bfloat16(np.zeros((40, 40))), bfloat16(np.zeros((40, 40)))
    assert same_bits(ops.linear(x, w, bias).to("float32").numpy(), np.tile(bias.to("float32").numpy(), (40, 1)))


# ---- permission for AMX -------------------------------------------------------------------------------------------

WITHOUT_PERMISSION = """
import sys; sys.path[:0] = {path!r}
from no_amx import deny_arch_prctl
deny_arch_prctl()
import pyformer as pf
from pyformer import _core
a = pf.tensor([[1.0, 2.0]]).to("bfloat16")
print(_core.isa(), _core.bfloat16_isa(), *_core.supported_isas(), pf.ops.matmul(a, a, transpose_b=True).item())
"""


@pytest.mark.skipif(platform.system() != "Linux" or platform.machine() != "x86_64", reason="AMX is x86's")
def test_without_permission_amx_is_not_used(tmp_path):
    script = tmp_path / "denied.py"
    script.write_text(WITHOUT_PERMISSION.format(path=[p for p in sys.path if p]))
    environment = {k: v for k, v in os.environ.items() if k != "PYFORMER_CPU_ISA"}
    shown = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=True)
    isa, product_isa, *supported, value = shown.stdout.split()
    assert "amx" not in (isa, product_isa, *supported)
    assert isa in supported
    assert float(value) == 5.0
    asked = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env={**environment, "PYFORMER_CPU_ISA": "amx"}
    )
    assert "PYFORMER_CPU_ISA=amx: this CPU or build does not have it" in asked.stderr
