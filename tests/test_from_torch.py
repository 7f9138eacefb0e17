"""Every row of docs/from-torch.md: both sides give the same numbers and shapes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import pyformer as pf
from pyformer import names, nn

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
        if isinstance(expected, (int, float)):
            assert got == pytest.approx(expected, rel=1e-6)
            continue
        expected, got = expected.detach(), got.detach()
        assert got.dtype.name == str(expected.dtype).split(".")[1]
        assert got.shape == tuple(expected.shape)
        np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


ROOMS = [
    *(
        getattr(names, part)
        for part in ("arithmetic", "choosing", "drawing", "losses", "making", "margins", "products")
    ),
    *(names.reductions, names.resizing, names.shapes, names.special, names.trigonometry),
    *(nn.layers, nn.convolution, nn.recurrent, nn.names, nn.functions, nn.margins, nn.torch_transformer, nn.init),
    *(nn.functional, nn.utils, pf.optim, pf.optim.lr_scheduler, pf.data, pf.autograd),
]


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__)
def test_each_kind_of_name_has_a_row(room):
    own = getattr(room, "__all__", None) or [
        n for n, v in vars(room).items() if getattr(v, "__module__", "") == room.__name__
    ]
    assert any(re.search(rf"\b{name}\b", row[-1]) for name in own if not name.startswith("_") for row in ROWS)
