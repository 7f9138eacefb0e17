"""Every op of the case table against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from case_runner import DTYPES, as_tuple, make_inputs, projections, run_pyformer
from cases import TEST_CASES
from tolerance import assert_close, bound, magnitude


def run_torch(case, arrays):
    tensors = {k: torch.tensor(v, requires_grad=k in case.grads) for k, v in arrays.items()}
    outputs = as_tuple(case.torch(torch, **tensors))
    grads = {}
    if case.grads:
        wanted = [o for o in outputs if o.requires_grad]
        douts = projections([o.detach().numpy() for o in wanted], arrays[case.grads[0]].dtype)
        torch.autograd.backward(wanted, [torch.tensor(d) for d in douts])
        grads = {
            k: np.zeros_like(arrays[k]) if tensors[k].grad is None else tensors[k].grad.numpy() for k in case.grads
        }
    return [o.detach().numpy() for o in outputs], grads


@pytest.mark.parametrize("case", [c for c in TEST_CASES if c.torch], ids=lambda case: case.id)
def test_against_torch(case):
    """float64 within the bound of torch's float64; float32 within it or twice torch's own float32 error."""
    exact, exact_grads = run_torch(case, make_inputs(case, "float64"))
    for dtype in reversed(DTYPES):
        arrays = make_inputs(case, dtype)
        if dtype == "float32":  # the oracle for float32 is float64 on the same, rounded, inputs
            rounded = {k: v.astype("float64") if v.dtype.kind == "f" else v for k, v in arrays.items()}
            exact, exact_grads = run_torch(case, rounded)
        got, grads = run_pyformer(case, arrays)
        rival, rival_grads = run_torch(case, arrays)
        scale = magnitude(*arrays.values())
        pairs = [(f"output {i}", *p) for i, p in enumerate(zip(got, exact, rival, strict=True))]
        pairs += [(f"d{k}", grads[k], exact_grads[k], rival_grads[k]) for k in case.grads]
        for what, ours, expected, torchs in pairs:
            if expected.dtype.kind != "f":
                np.testing.assert_array_equal(ours, expected)
                continue
            with np.errstate(over="ignore"):  # what overflows float32 is infinite in float32
                expected = expected.astype(dtype).astype("float64")
            allowed = bound(dtype, case.reduction, scale + magnitude(expected))
            if dtype == "float32" and expected.size >= 64 and np.isfinite(expected).all():
                allowed = max(allowed, 2 * float(np.abs(torchs - expected).max()))
            assert_close(ours, expected, allowed, f"{case.id} {what} in {dtype}")
