"""Runs a row of the case table through pyformer, for test_cases.py and test_oracle.py to compare what comes out."""

from __future__ import annotations

import numpy as np
from tolerance import Exact, probe, round_to

import pyformer as pf
from pyformer import _core

DTYPES = ["float32", "float64"]
# Sets that are avx512 but for products of bfloat16, which test_bfloat16_product.py compares.
PRODUCT_ISAS = ("avx512_bf16", "amx")
VECTOR_ISAS = [isa for isa in _core.supported_isas() if isa not in ("ref", *PRODUCT_ISAS)]


def as_tuple(value):
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def make_inputs(case, dtype):
    arrays = case.inputs(np.random.default_rng(7))
    return {k: v.astype(dtype) if v.dtype.kind == "f" else v for k, v in arrays.items()}


def projections(outputs, dtype=None):
    """A random gradient for each float output: never ones, which hide mistakes. The same numbers in every dtype, which
    is the output's own if none is given."""
    rng = np.random.default_rng(11)
    return [rng.standard_normal(o.shape).astype("float32").astype(dtype or o.dtype) for o in outputs]


def run_pyformer(case, arrays, backward=True):
    """Outputs and gradients as NumPy arrays, computed in memory pre-filled with NaN between guard bands."""
    _core.set_guard_mode(True)
    tensors = {k: pf.tensor(v, requires_grad=backward and k in case.grads) for k, v in arrays.items()}
    outputs = as_tuple(case.run(pf, **tensors))
    values = [o.numpy().copy() for o in outputs]
    grads = {}
    if backward and case.grads:
        wanted = [o for o in outputs if o.requires_grad]
        douts = projections([o.numpy() for o in wanted])
        _core.backward_many(wanted, [pf.tensor(d) for d in douts])
        grads = {k: tensors[k].grad.numpy().copy() for k in case.grads}
    _core.set_guard_mode(False)
    assert _core.guard_violations() == 0, f"{case.id}: wrote outside an array"
    return values, grads


def run_torch(case, arrays, torch, dout_dtype="float32"):
    """Outputs, then gradients, of the case's torch function, as NumPy arrays; `dout_dtype` can hold what is sent
    back."""
    tensors = {k: torch.tensor(v, requires_grad=k in case.grads) for k, v in arrays.items()}
    outputs = as_tuple(case.torch(torch, **tensors))
    values = [o.detach().numpy() for o in outputs]
    if case.grads:
        wanted = [o for o in outputs if o.requires_grad]
        douts = projections([o.detach().numpy() for o in wanted], "float32")
        torch.autograd.backward(wanted, [torch.tensor(round_to(d, dout_dtype)) for d in douts])
    for key in case.grads:
        grad = tensors[key].grad
        values.append(np.zeros_like(arrays[key]) if grad is None else grad.numpy())
    return values


def oracle(case, torch):
    """{dtype: [Exact, ...]}: what torch computes in float64 from the inputs that the dtype can hold."""
    inputs = {dtype: make_inputs(case, dtype) for dtype in DTYPES}
    wide = {d: {k: v.astype("float64") if v.dtype.kind == "f" else v for k, v in a.items()} for d, a in inputs.items()}
    probed = probe(lambda: run_torch(case, wide["float64"], torch))
    values = {d: run_torch(case, arrays, torch) for d, arrays in wide.items()}
    return {d: [Exact(v, p.spread) for v, p in zip(values[d], probed, strict=True)] for d in DTYPES}
