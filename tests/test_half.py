"""bfloat16 and float16 by the rule of core/tensor.h and base/element.h: operands are widened exactly, everything is
computed as in float32, and what is stored in 16 bits is rounded once. So a result is that of float32 on the widened
operands, rounded: bit for bit, but for the ops that round in between by a rule of their own (ROUNDS_BETWEEN)."""

from __future__ import annotations

import numpy as np
import pytest
from case_runner import as_tuple, make_inputs, projections
from cases import TEST_CASES

import pyformer as pf
from pyformer import _core

# Products of 16-bit matrices have a sum of their own, ops made of several round between them, and what is saved in 16
# bits for backward is read back rounded: results are close to float32's, within a few roundings of 16 bits.
ROUNDS_BETWEEN = {
    "attention",
    "attention_packed",
    "bspline_linear",
    "linear",
    "linear_cross_entropy",
    "matmul",
    "mlp",
    "norm_linear",
    "operators",
}
EPS = {"bfloat16": 2.0**-8, "float16": 2.0**-11}
CASES = [c for c in TEST_CASES if c.grads and c.finite]


def rounded(array: np.ndarray, dtype: str) -> np.ndarray:
    """float32 values, each the nearest of that dtype."""
    return pf.tensor(array.astype(np.float32)).to(dtype).to("float32").numpy()


def run(case, arrays, dtype):
    """Outputs and gradients as float32 arrays."""
    tensors = {}
    for key, value in arrays.items():
        tensor = pf.tensor(value)
        tensors[key] = tensor.to(dtype) if value.dtype == np.float32 else tensor
        if key in case.grads:
            tensors[key].requires_grad = True
    outputs = as_tuple(case.run(pf, **tensors))
    wanted = [o for o in outputs if o.requires_grad]
    douts = projections([o.detach().to("float32").numpy() for o in wanted], np.float32)
    seeds = [pf.tensor(rounded(d, "bfloat16")).to(o.dtype) for d, o in zip(douts, wanted, strict=True)]
    _core.backward_many(wanted, seeds)
    is_float = [str(o.dtype).split(".")[-1] not in ("int64", "int32", "bool") for o in outputs]
    values = [o.detach().to("float32").numpy() if f else o.numpy() for o, f in zip(outputs, is_float, strict=True)]
    return values, {k: tensors[k].grad.numpy() for k in case.grads}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_rounded_once(case, dtype):
    arrays = make_inputs(case, "float32")
    for key, value in arrays.items():
        if value.dtype.kind == "f":  # to what both dtypes hold: 1e30 is infinite in float16
            arrays[key] = rounded(rounded(value, "bfloat16"), dtype)
    _core.set_isa("ref")
    got, got_grads = run(case, arrays, dtype)
    expected, expected_grads = run(case, arrays, "float32")
    pairs = [(f"output {i}", a, b) for i, (a, b) in enumerate(zip(got, expected, strict=True))]
    pairs += [(f"d{k}", got_grads[k], expected_grads[k]) for k in case.grads]
    for what, a, b in pairs:
        assert a.shape == b.shape, f"{case.id} {what}"
        if a.dtype != np.float32:
            assert np.array_equal(a, b), f"{case.id} {what}"
        elif case.op in ROUNDS_BETWEEN:
            scale = np.abs(b).max(initial=0.0)
            assert np.all(np.abs(a - b) <= EPS[dtype] * (4 * np.abs(b) + 4 * scale)), f"{case.id} {what}"
        else:
            once = rounded(b, dtype)
            same = (a == b) | (a == once) | (np.isnan(a) & np.isnan(b))
            assert np.all(same), f"{case.id} {what}: {a[~same][:4]} against {b[~same][:4]} rounded {once[~same][:4]}"
