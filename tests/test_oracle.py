"""Every op of the case table against torch's float64, element by element."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from case_runner import DTYPES, make_inputs, oracle, run_pyformer
from cases import TEST_CASES
from tolerance import assert_close


@pytest.mark.parametrize("case", [c for c in TEST_CASES if c.torch], ids=lambda case: case.id)
def test_against_torch(case):
    exact = oracle(case, torch)
    for dtype in DTYPES:
        outputs, grads = run_pyformer(case, make_inputs(case, dtype))
        names = [*(f"output {i}" for i in range(len(outputs))), *(f"d{key}" for key in case.grads)]
        got = [*outputs, *(grads[key] for key in case.grads)]
        for name, ours, expected in zip(names, got, exact[dtype], strict=True):
            what = f"{case.id} {name} in {dtype}"
            if ours.dtype.kind == "f":
                assert_close(ours, expected, what, additions=case.reduction)
            else:
                np.testing.assert_array_equal(ours, expected.value, err_msg=what)
