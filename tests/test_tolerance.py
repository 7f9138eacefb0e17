"""The tolerances themselves: what each of them must accept and what it must not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from case_runner import make_inputs, oracle, run_pyformer
from cases import TEST_CASES
from tolerance import UNIT, Exact, allowed, assert_close, by_rows, round_to

CASES = {case.id: case for case in TEST_CASES}


@pytest.mark.parametrize(
    "name",
    [
        "matmul-13x37@37x34-nn",
        "matmul-5x513@513x18-nn",
        "linear-7x48x35-gelu-residual",
        "linear-(3x100)x64x192",
        "layer_norm-5x257",
        "attention-grouped",
        "attention-causal-65x65",
        "softmax-3x257-axis-1",
        "cross_entropy-none",
        "cross_entropy-smoothed",
    ],
)
def test_one_element_in_bfloat16_is_caught(name):
    """Any one element of an output or a gradient, rounded to bfloat16, if that changes it by a sixteenth of a unit."""
    case = CASES[name]
    outputs, grads = run_pyformer(case, make_inputs(case, "float32"))
    for got, exact in zip([*outputs, *grads.values()], oracle(case, torch)["float32"], strict=True):
        change = np.abs(round_to(got, "bfloat16") - got)
        size = np.abs(exact.value) + exact.spread
        noticed = change > 2 * allowed(exact, "float32", case.reduction)  # whichever way the present error points
        assert noticed[change > UNIT["bfloat16"] * size / 16].all()
        changed = change > 0
        assert noticed[changed].mean() > 0.93, noticed[changed].mean()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_one_rounding_is_accepted_and_a_coarse_sum_is_not(dtype):
    rng = np.random.default_rng(0)
    a, b = (round_to(rng.standard_normal(shape), dtype) for shape in ((40, 200), (200, 30)))
    exact = Exact(a @ b, np.sqrt(np.square(a) @ np.square(b)))
    rounded = round_to(exact.value, dtype)
    assert_close(rounded, exact, additions=200, dtype=dtype)
    units = np.exp2(np.floor(np.log2(np.abs(exact.value)))) * 2 * UNIT[dtype]
    with pytest.raises(AssertionError, match="elements are off"):
        assert_close(rounded + (256 if dtype == "float32" else 8) * units, exact, additions=200, dtype=dtype)
    if dtype == "float32":
        return
    total = np.zeros_like(rounded)  # a sum that is rounded to 16 bits after each addition
    for k in range(200):
        total = round_to(total + a[:, k : k + 1] * b[k], dtype)
    with pytest.raises(AssertionError, match="elements are off"):
        assert_close(total, exact, additions=200, dtype=dtype)


def test_an_element_that_is_off_is_seen_beside_large_ones():
    exact = by_rows(np.array([[1e6, 2e6, 1e6], [1.0, 2.0, 3.0]]))
    got = exact.value.astype(np.float32)
    assert_close(got, exact)
    got[1, 0] += 1e-5
    with pytest.raises(AssertionError, match="1 of 6 elements"):
        assert_close(got, exact)


def test_infinities_and_nan_stand_where_they_should():
    exact = Exact(np.array([np.inf, np.nan, 1e39, 1.0]), np.zeros(4))
    assert_close(np.array([np.inf, np.nan, np.inf, 1.0], np.float32), exact)
    for wrong in ([-np.inf, np.nan, np.inf, 1.0], [np.inf, 1.0, np.inf, 1.0], [np.inf, np.nan, 3e38, 1.0]):
        with pytest.raises(AssertionError):
            assert_close(np.array(wrong, np.float32), exact)
