"""bfloat16 and float16 by the rule of core/tensor.h and base/element.h: operands are widened exactly, everything is
computed as in float32, and what is stored in 16 bits is rounded once. So a result is that of float32 on the widened
operands, rounded: bit for bit, but for the ops that round in between by a rule of their own (ROUNDS_BETWEEN). Those are
judged element by element against torch's float64."""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache

import numpy as np
import pytest
import torch
from case_runner import as_tuple, make_inputs, projections, run_torch
from case_tables import more_names, names
from cases import TEST_CASES
from tolerance import UNIT, Exact, assert_close, by_rows, probe

import pyformer as pf
from pyformer import _core
from pyformer.nn.precision import is_float

# Products of 16-bit matrices have a sum of their own, ops made of several round between them, and what is saved in 16
# bits for backward is read back rounded. The number is `between` of tolerance.py: how far that moves a result. In
# attention it is the weights and their gradient alone, fewer than what a probe changes; mlp rounds one after the other.
ROUNDS_BETWEEN = {
    "attention": 0.6,
    "attention_packed": 0.6,
    "linear": 1.0,
    "linear_cross_entropy": 1.0,
    "matmul": 0.0,
    "mlp": 1.5,
    "norm_linear": 1.0,
    "operators": 1.0,
    "scaled_dot_product_attention": 0.6,
}
PRODUCTS = ("attention", "attention_packed", "linear", "linear_cross_entropy", "matmul", "mlp", "norm_linear")
PROBES = 16  # more than in float32: there is little room, and each case is probed once for both dtypes
# Compositions round after each of their operations, which have cases of their own.
COMPOSITIONS = {case.op for case in (*names.CASES, *more_names.CASES)}
# What rounding moves numbers that are below the smallest of full precision.
HALF_A_STEP = {"bfloat16": 2.0**-134, "float16": 2.0**-25}
FLOAT_CASES = [c for c in TEST_CASES if c.grads and c.finite]
CASES = [c for c in FLOAT_CASES if c.op not in COMPOSITIONS]


def rounded(array: np.ndarray, dtype: str) -> np.ndarray:
    """float32 values, each the nearest of that dtype."""
    return pf.tensor(array.astype(np.float32)).to(dtype).to("float32").numpy()


def run(case, arrays, dtype):
    """Outputs and gradients as float32 arrays, or float64 where that is the dtype."""
    held = "float64" if dtype == "float64" else "float32"
    tensors, kept = {}, "float32" if dtype == "autocast" else dtype
    for key, value in arrays.items():
        tensor = pf.tensor(value)
        tensors[key] = tensor.to(kept) if value.dtype.kind == "f" else tensor
        if key in case.grads:
            tensors[key].requires_grad = True
    with pf.autocast("bfloat16") if dtype == "autocast" else nullcontext():
        outputs = as_tuple(case.run(pf, **tensors))
    wanted = [o for o in outputs if o.requires_grad]
    douts = projections([o.detach().to("float32").numpy() for o in wanted], np.float32)
    seeds = [pf.tensor(rounded(d, "bfloat16")).to(o.dtype) for d, o in zip(douts, wanted, strict=True)]
    _core.backward_many(wanted, seeds)
    values = [o.detach().to(held).numpy() if is_float(o.dtype) else o.numpy() for o in outputs]
    return values, {k: tensors[k].grad.numpy() for k in case.grads}


def inputs_of(case, dtype):
    """Floats that both dtypes hold: 1e30 is infinite in float16."""
    arrays = make_inputs(case, "float32")
    return {k: rounded(rounded(v, "bfloat16"), dtype) if v.dtype.kind == "f" else v for k, v in arrays.items()}


@cache
def exact_results(case, dtype) -> list[Exact]:
    """Outputs, then gradients, in float64, of what `run` is given."""
    arrays = inputs_of(case, dtype)
    if dtype == "bfloat16" and all(np.array_equal(v, arrays[k]) for k, v in inputs_of(case, "float16").items()):
        return exact_results(case, "float16")
    wide = {k: v.astype("float64") if v.dtype.kind == "f" else v for k, v in arrays.items()}
    if case.torch is None:
        values, grads = run(case, wide, "float64")
        return [by_rows(v) for v in (*values, *grads.values())]
    return probe(lambda: run_torch(case, wide, torch, "bfloat16"), PROBES, reach=4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_rounded_once(case, dtype):
    arrays = inputs_of(case, dtype)
    _core.set_isa("ref")
    got, got_grads = run(case, arrays, dtype)
    names = [*(f"output {i}" for i in range(len(got))), *(f"d{k}" for k in case.grads)]
    got = [*got, *got_grads.values()]
    if case.op in ROUNDS_BETWEEN:
        check_against_float64(case, dtype, names, got)
        return
    expected, expected_grads = run(case, arrays, "float32")
    for name, a, b in zip(names, got, [*expected, *expected_grads.values()], strict=True):
        what = f"{case.id} {name}"
        assert a.shape == b.shape, what
        if a.dtype != np.float32:
            assert np.array_equal(a, b), what
            continue
        once = rounded(b, dtype)
        same = (a == b) | (a == once) | (np.isnan(a) & np.isnan(b))
        assert np.all(same), f"{what}: {a[~same][:4]} against {b[~same][:4]} rounded {once[~same][:4]}"


def check_against_float64(case, dtype, names, got):
    for name, a, exact in zip(names, got, exact_results(case, dtype), strict=True):
        what = f"{case.id} {name} in {dtype}"
        if a.dtype != np.float32:
            assert np.array_equal(a, exact.value), what
            continue
        between = 0.0 if case.op == "linear" and name == "output 0" else ROUNDS_BETWEEN[case.op]
        assert_close(a, exact, what, additions=case.reduction, between=between, dtype=dtype)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("case", [c for c in FLOAT_CASES if c.op in COMPOSITIONS], ids=lambda case: case.id)
def test_a_composition_rounds_a_few_times(case, dtype):
    """Each element is float64's but for four roundings to dtype, of itself or of numbers that cancelled in it."""
    arrays = inputs_of(case, dtype)
    got, got_grads = run(case, arrays, dtype)
    wide = {k: v.astype("float64") if v.dtype.kind == "f" else v for k, v in arrays.items()}
    expected, expected_grads = run(case, wide, "float64")
    names = [*(f"output {i}" for i in range(len(got))), *(f"d{k}" for k in case.grads)]
    if case.op == "scaled_dot_product_attention":  # attention under another name, which has a rule of its own
        check_against_float64(case, dtype, names, [*got, *got_grads.values()])
        if dtype == "float16":
            return
    for name, a, b in zip(names, [*got, *got_grads.values()], [*expected, *expected_grads.values()], strict=True):
        what = f"{case.id} {name}"
        assert a.shape == b.shape, what
        if a.dtype != np.float32:
            assert np.array_equal(a, b), what
            continue
        room = 4 * (UNIT[dtype] * (np.abs(b) + 0.25 * np.abs(b).max(initial=0.0)) + HALF_A_STEP[dtype])
        assert np.all(np.abs(a - b) <= room), f"{what}: off by {np.max(np.abs(a - b) / room)} times what is allowed"


@pytest.mark.parametrize("case", [c for c in CASES if c.op in PRODUCTS], ids=lambda case: case.id)
def test_autocast(case):
    """Of operands that bfloat16 holds: a product's result is not rounded, and no gradient is."""
    arrays = inputs_of(case, "bfloat16")
    got, got_grads = run(case, arrays, "autocast")
    names = [*(f"output {i}" for i in range(len(got))), *(f"d{k}" for k in case.grads)]
    exact = exact_results(case, "bfloat16")
    for name, a, e in zip(names, [*got, *got_grads.values()], exact, strict=True):
        what = f"{case.id} {name} in autocast"
        assert a.dtype == np.float32, what
        if case.op == "matmul" or (case.op == "linear" and name == "output 0"):
            assert_close(a, e, what, additions=case.reduction)
        else:
            assert_close(a, e, what, additions=case.reduction, between=ROUNDS_BETWEEN[case.op], dtype="bfloat16")


def without_small(a):
    return np.where(np.abs(a) <= 0.0155 * np.abs(a).max(initial=0.0), 0, a)


def small_turned(a):
    return np.where(np.abs(a) <= 0.0075 * np.abs(a).max(initial=0.0), -a, a)


def five_bits(a):
    bits = np.ascontiguousarray(a).view(np.uint32) + np.uint32(1 << 17)
    return (bits & np.uint32(0xFFFC0000)).view(np.float32).reshape(a.shape)


@pytest.mark.parametrize("spoil", [without_small, small_turned, five_bits])
@pytest.mark.parametrize(
    "name",
    [
        "attention-causal-16x16",
        "attention-grouped",
        "attention_packed-2x37",
        "linear-40x48x35-gelu-residual",
        "linear_cross_entropy-70x17x33-bias",
        "matmul-13x37@37x34-nn",
        "mlp-40x17-33-gelu_tanh-rms",
        "norm_linear-2x7x33-to-40-layer",
    ],
)
def test_a_spoiled_answer_is_caught(name, spoil, monkeypatch):
    """Answers that a tolerance beside the largest element lets pass."""
    whole = run

    def spoiled(case, arrays, dtype):
        values, grads = whole(case, arrays, dtype)
        if dtype != "bfloat16":
            return values, grads
        return [spoil(v) for v in values], {k: spoil(v) for k, v in grads.items()}

    monkeypatch.setitem(globals(), "run", spoiled)
    (case,) = [c for c in CASES if c.id == name]
    with pytest.raises(AssertionError, match="elements are off"):
        test_rounded_once(case, "bfloat16")


@pytest.mark.parametrize("isa", _core.supported_isas())
def test_conversions_between_float32_and_bfloat16(isa):
    """All kinds of bits, NaN but for its payload; every length around a register's, and two tasks."""
    _core.set_isa(isa)
    bits = np.random.default_rng(4).integers(0, 2**32, 70_000, np.uint32)
    bits[::3] &= 0xFFFF8000  # halfway between two, or one of them
    x = bits.view(np.float32)
    rest, half = bits & 0xFFFF, (bits >> 16).astype(np.uint32)
    up = (rest > 0x8000) | ((rest == 0x8000) & (half & 1 == 1))
    expected = ((half + up) << 16).view(np.float32)
    expected[np.isnan(x)] = np.nan
    for size in (*range(40), x.size):
        found = pf.tensor(x[:size]).to(pf.bfloat16)
        assert found.dtype == pf.bfloat16
        np.testing.assert_array_equal(found.to(pf.float32).numpy(), expected[:size])
