"""Every op of the case table: the same bits on every instruction set and thread count, gradients proven."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import numpy as np
import pytest
from case_runner import DTYPES, VECTOR_ISAS, as_tuple, make_inputs, projections, run_pyformer
from cases import TEST_CASES
from tolerance import same_bits

import pyformer as pf
from pyformer import _core


@pytest.mark.parametrize("isa", VECTOR_ISAS)
@pytest.mark.parametrize("case", TEST_CASES, ids=lambda case: case.id)
def test_bits_equal_reference(case, isa):
    for dtype in DTYPES:
        arrays = make_inputs(case, dtype)
        _core.set_isa("ref")
        expected, expected_grads = run_pyformer(case, arrays)
        _core.set_isa(isa)
        got, grads = run_pyformer(case, arrays)
        for i, (a, b) in enumerate(zip(got, expected, strict=True)):
            assert same_bits(a, b), f"{case.id} output {i} in {dtype}: {isa} differs from ref"
        for key in case.grads:
            assert same_bits(grads[key], expected_grads[key]), f"{case.id} d{key} in {dtype}: {isa} differs from ref"


@pytest.mark.parametrize("case", TEST_CASES, ids=lambda case: case.id)
def test_bits_do_not_depend_on_threads(case):
    arrays = make_inputs(case, "float32")
    results = []
    for threads in (1, 2, 3, 4):
        pf.set_num_threads(threads)
        results.append(run_pyformer(case, arrays))
    for values, grads in results[1:]:
        assert all(same_bits(a, b) for a, b in zip(values, results[0][0], strict=True))
        assert all(same_bits(grads[k], results[0][1][k]) for k in grads)


@pytest.mark.parametrize("case", [c for c in TEST_CASES if c.grads and c.finite], ids=lambda case: case.id)
def test_gradient_by_random_projection(case):
    """Along a random direction, in float64: a five-point difference quotient against the gradient, to 1e-6."""
    arrays = make_inputs(case, "float64")
    values, grads = run_pyformer(case, arrays)
    probe = {k: pf.tensor(v, requires_grad=k in case.grads) for k, v in arrays.items()}
    differentiable = [o.requires_grad for o in as_tuple(case.run(pf, **probe))]
    douts = iter(projections([v for v, d in zip(values, differentiable, strict=True) if d], "float64"))
    douts = [next(douts) if d else None for d in differentiable]
    rng = np.random.default_rng(13)

    def projected(inputs):
        outputs = as_tuple(case.run(pf, **{k: pf.tensor(v) for k, v in inputs.items()}))
        pairs = zip(outputs, douts, strict=True)
        return sum(float((o.numpy() * d).sum()) for o, d in pairs if d is not None)

    for key in case.grads:
        direction = rng.standard_normal(arrays[key].shape)
        norm = float(np.sqrt((direction**2).sum())) or 1.0
        direction /= norm
        h = 1e-3

        def at(step, key=key, direction=direction):
            return projected({**arrays, key: arrays[key] + step * direction})

        slope = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
        claimed = float((grads[key] * direction).sum())
        scale = 1.0 + abs(slope) + float(np.sqrt((grads[key] ** 2).sum()))
        assert abs(slope - claimed) <= 1e-6 * scale, f"d{key}: {claimed} against {slope}"


# Numbers of a length or a text, settings, and what says so in Python's own types.
WITHOUT_A_ROW = {"allclose", "get_default_dtype", "rope_frequencies", "rope_magnitude", "set_default_dtype"}


def test_every_operation_has_a_row():
    """Called by a row, or by a function that a row calls."""
    called: set[Any] = set()

    def note(frame: Any, event: str, function: Any) -> None:
        called.add(frame.f_code if event == "call" else getattr(function, "__name__", None))

    for case in TEST_CASES:
        tensors = {k: pf.tensor(v) for k, v in make_inputs(case, "float64").items()}
        sys.setprofile(note)
        try:
            case.run(pf, **tensors)
        finally:
            sys.setprofile(None)
    missing = set()
    for name in dir(pf.ops):
        function = inspect.unwrap(getattr(pf.ops, name))
        if not name.startswith("_") and callable(function) and not inspect.isclass(function):
            code = getattr(function, "__code__", None)
            if name not in called and code not in called:
                missing.add(name)
    assert missing == WITHOUT_A_ROW
