"""What config.json says of matrices that take 8 or fewer bits a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyformer as pf
from pyformer import _core

KEY, METHOD, RULE = "quantization_config", "pyformer", "int8_int16"


def quantized_config(quantized: Mapping[str, pf.QuantizedWeight]) -> dict[str, Any]:
    """What config.json says of matrices, by their names in files: the rule of arithmetic, formats and widths."""
    if not quantized:
        return {}
    matrices = {name: [matrix.format, matrix.shape[1]] for name, matrix in quantized.items()}
    return {KEY: {"quant_method": METHOD, "rule": RULE, "matrices": matrices}}


def read_quantized_config(values: dict[str, Any]) -> dict[str, tuple[str, int]]:
    """Takes that out of config.json's content: (format, width) of matrices, by their names in files."""
    said = values.get(KEY)
    if not isinstance(said, dict) or said.get("quant_method") != METHOD:
        return {}  # another's: the family refuses it
    del values[KEY]
    if said.get("rule") != RULE:
        what = "quantise the model again: by this version it would give other numbers"
        raise ValueError(f"{KEY}: rule must be {RULE!r}, got {said.get('rule')!r}; {what}")
    matrices, known = said.get("matrices"), _core.quantized_formats()
    if not isinstance(matrices, dict):
        raise ValueError(f"{KEY}: matrices must be formats and widths by name, got {type(matrices).__name__}")
    for name, matrix in matrices.items():
        fits = isinstance(matrix, list) and len(matrix) == 2 and matrix[0] in [*known] and type(matrix[1]) is int
        if not fits or not 1 <= matrix[1] < 1 << 31:
            raise ValueError(f"{KEY}: {name} must be [format, width], a format of {sorted(known)}, got {matrix!r}")
    return {name: (kind, width) for name, (kind, width) in matrices.items()}
