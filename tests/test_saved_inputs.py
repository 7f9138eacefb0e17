"""What backward needs of an op is guarded: after a write into it backward raises, or gives the bits as before."""

from __future__ import annotations

import numpy as np
import pytest
from case_runner import as_tuple, make_inputs, projections
from cases import TEST_CASES
from tolerance import same_bits

import pyformer as pf
from pyformer import _core


def other_values(array):
    """Values of the same kind, all that can be different."""
    if array.dtype.kind == "f":
        return array * 1.5 + 0.25
    return ~array if array.dtype.kind == "b" else array.reshape(-1)[::-1].reshape(array.shape)


def forward(case, arrays):
    """Tensors by name, outputs, and how to go back: a function that gives the gradients."""
    tensors = {k: pf.tensor(v, requires_grad=k in case.grads) for k, v in arrays.items()}
    outputs = as_tuple(case.run(pf, **tensors))
    wanted = [o for o in outputs if o.requires_grad]
    douts = [pf.tensor(d) for d in projections([o.detach().numpy() for o in wanted])]

    def backward():
        _core.backward_many(wanted, douts)
        return {k: tensors[k].grad.numpy().copy() for k in case.grads}

    return {**tensors, **{f"output {i}": o for i, o in enumerate(outputs)}}, backward


@pytest.mark.parametrize("case", [c for c in TEST_CASES if c.grads], ids=lambda case: case.id)
def test_a_write_after_forward_is_noticed_or_changes_nothing(case):
    arrays = make_inputs(case, "float32")
    tensors, backward = forward(case, arrays)
    expected = backward()
    for name in tensors:
        tensors, backward = forward(case, arrays)
        values = tensors[name].detach()
        with np.errstate(over="ignore", invalid="ignore"):
            _core.copy_([values], [pf.tensor(other_values(values.numpy()))])
        try:
            grads = backward()
        except RuntimeError as raised:
            error = str(raised)
        else:
            error = ""
        if error:
            assert "changed in place after the forward pass" in error
            continue
        for key in case.grads:
            assert same_bits(grads[key], expected[key]), f"{case.id}: d{key} after a write into {name}"
