"""Which instructions multiply bfloat16."""

from __future__ import annotations

from pyformer import _core

WITH_INSTRUCTIONS = ("avx512_bf16", "amx")


def bfloat16_products() -> str:
    """The instruction set that multiplies bfloat16 here, and how it does where none of its instructions does."""
    isa = _core.bfloat16_isa()
    if isa in WITH_INSTRUCTIONS:
        return isa
    return f"{isa} (plain loops)" if isa == "ref" else f"{isa} (emulated by float32 multiply-adds)"
