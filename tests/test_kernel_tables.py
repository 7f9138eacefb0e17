"""The kernels there are: none falls silently to the plain loops."""

from __future__ import annotations

import subprocess
import sys

import pytest
from case_runner import PRODUCT_ISAS

from pyformer import _core

TABLES = _core.kernels()
FLOATS = ("float32", "float64")
THIN_PRODUCTS = [8, 9]  # rows of bfloat16_product: thin_rows, thin
# Loops that move bytes, run once a step or are not hot have no vector code; programs have no kernels of their own.
PLAIN = {op for op, sets in TABLES.items() if set(sets) == {"ref"}}
# The same among the rows of a table that has vector code: {op: rows}.
PLAIN_ROWS = {
    "adamw": [1],  # prepare: a step's coefficients
    "arithmetic": [0, 1, 2, 3, 5, 6],  # memory's speed; of cast (2) float32 to and from bfloat16 has vector code
    "elementwise": [41, 42, 43, 44, 48],  # equal, not_equal, less, less_equal; where
    "global_norm": [1, 2],  # norm, clip: one number
    "norm_planes": [3, 4],  # given, running: a number a channel
    "quantized_linear": [2, 3, 4, 5],  # rows, pack, unpack, make: not in a product
    "reduce": [1, 5, 7, 10],  # sum_tree, extreme_of_parts, scatter, running_bases
    "retention": [0],  # check: a number a head
}


# float64 of these is AVX2's on AVX-512 too (vec.h).
FLOAT64_OF_AVX2 = {"activation", "elementwise", "reduce", "softmax"}


def lacking(sets: dict[str, list[list[str]]], float64_of_avx2: bool = False) -> list[str]:
    """Rows that one vector set has and another lacks, in a dtype."""
    vector = {name: rows for name, rows in sets.items() if name not in ("ref", *PRODUCT_ISAS)}
    found = []
    for row in range(len(next(iter(sets.values())))):
        for dtype in FLOATS:
            wanted = set(vector) - ({"avx512"} if float64_of_avx2 and dtype == "float64" else set())
            having = [name for name, rows in vector.items() if dtype in rows[row]]
            if having and set(having) != wanted:
                found.append(f"row {row} in {dtype}: only {having}")
            if not having and dtype in sets["ref"][row]:
                found.append(f"row {row} in {dtype}: only ref")
    return found


@pytest.mark.parametrize("op", sorted(set(TABLES) - PLAIN))
def test_every_set_has_every_row(op):
    found = lacking(TABLES[op], op in FLOAT64_OF_AVX2)
    assert sorted({int(line.split()[1]) for line in found}) == PLAIN_ROWS.get(op, []), found
    assert all(line.endswith("only ref") for line in found), found


def test_products_of_bfloat16_have_kernels_in_every_set():
    for name in ("avx2", "avx512", *PRODUCT_ISAS):
        if name in TABLES["gemm"]:
            rows = TABLES["bfloat16_product"][name]
            # Sets that are nothing but products take the kernel of few rows from the set that they fall back to.
            missing = [row for row, dtypes in enumerate(rows) if dtypes != ["bfloat16"]]
            assert missing == (THIN_PRODUCTS if name in PRODUCT_ISAS else [])
            assert all("bfloat16" in row for row in TABLES["gemm"][name])


def test_a_missing_row_is_noticed():
    rows = [["float32", "float64"]]
    assert lacking({"ref": rows, "avx2": rows, "avx512": [["float32"]]}) == ["row 0 in float64: only ['avx2']"]
    assert lacking({"ref": rows, "avx2": [[]], "avx512": [[]]}) == [
        "row 0 in float32: only ref",
        "row 0 in float64: only ref",
    ]
    assert lacking({"ref": rows, "avx2": rows, "avx512": [["float32"]]}, True) == []
    assert lacking({"ref": rows, "avx2": [["float32"]], "avx512": [["float32"]]}, True) == [
        "row 0 in float64: only ref"
    ]


def test_info_shows_the_kernels():
    shown = subprocess.run(
        [sys.executable, "-m", "pyformer", "info", "--kernels"], capture_output=True, text=True, check=True
    ).stdout
    for op in TABLES:
        assert f"\n{op} " in "\n" + shown
    assert "avx" in shown or "portable" in shown
