"""The CUDA kernels, run by the emulator: every case whose op has kernels, in three dtypes and under several schedules.

They take their sums in the order of the CPU's plain loops, so a result has the bits of `ref`, whatever the schedule.
Products of bfloat16, of which x86's matrix unit has a sum of its own, are judged element by element against float64."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache

import cuda_device
import numpy as np
import pytest
import test_half
from case_runner import as_tuple, make_inputs, projections
from cases import TEST_CASES
from tolerance import same_bits

import pyformer as pf
from pyformer import _core
from pyformer.nn.module import is_float

DEVICE = "cuda:emulated"
SCHEDULES = ("lowest,early", "highest,late", "drawn,late,seed=3")


@pytest.fixture(autouse=True, scope="module")
def _device():
    cuda_device.library()
    yield
    cuda_device.schedule("lowest,early")


def run(case, arrays, dtype, device):
    """Outputs and gradients as NumPy arrays: float32 where they are floats."""
    tensors = {}
    for key, value in arrays.items():
        tensor = pf.tensor(value, device=device)
        tensors[key] = tensor.to(dtype) if value.dtype.kind == "f" else tensor
        if key in case.grads:
            tensors[key].requires_grad = True
    outputs = as_tuple(case.run(pf, **tensors))
    assert all(o.device == pf.device(device) for o in outputs), case.id
    wanted = [o for o in outputs if o.requires_grad]
    if case.grads:
        douts = projections([np.empty(o.shape) for o in wanted], np.float32)
        seeds = [pf.tensor(test_half.rounded(d, "bfloat16"), device=device) for d in douts]
        _core.backward_many(wanted, [s.to(o.dtype) for s, o in zip(seeds, wanted, strict=True)])
    return [as_numpy(t) for t in (*outputs, *(tensors[k].grad for k in case.grads))]


def as_numpy(tensor):
    here = tensor.detach().to("cpu")
    return (here.to("float32") if is_float(here.dtype) else here).numpy()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("case", TEST_CASES, ids=lambda case: case.id)
def test_case(case, dtype):
    arrays = test_half.inputs_of(case, dtype) if dtype != "float32" else make_inputs(case, dtype)
    _core.set_isa("ref")
    expected = run(case, arrays, dtype, "cpu")
    for words in SCHEDULES:
        cuda_device.schedule(words)
        got = run(case, arrays, dtype, DEVICE)
        for i, (a, b) in enumerate(zip(got, expected, strict=True)):
            assert same_bits(a, b), f"{case.id}: result {i} in {dtype}, {words}"
