"""Every row of docs/from-torch.md: both sides give the same numbers and shapes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import pyformer as pf

PAGE = (Path(__file__).parents[1] / "docs" / "from-torch.md").read_text()
TABLE = PAGE.partition("| torch | pyformer |")[2].partition("\n\n")[0]
ROWS = [re.findall(r"`([^`]+)`", line) for line in TABLE.splitlines()[2:]]

X = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
VALUES = {"x": X, "y": X[::-1].copy() * 0.5, "m": X > 0.3, "i": np.array([[1], [0], [3]])}


def test_the_table_was_read():
    assert len(ROWS) > 40
    assert all(len(row) >= 2 for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_both_sides_are_the_same(row):
    expected = eval(row[0], {"torch": torch, "np": np, **{k: torch.tensor(v) for k, v in VALUES.items()}})
    for ours in row[1:]:
        got = eval(ours, {"pf": pf, "np": np, **{k: pf.tensor(v) for k, v in VALUES.items()}})
        if isinstance(expected, int):
            assert got == expected
            continue
        assert got.dtype.name == str(expected.dtype).split(".")[1]
        assert got.shape == tuple(expected.shape)
        np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)
