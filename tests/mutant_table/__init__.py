"""The mistakes that `mutants.py` makes in Python, C++ and CUDA, and the tests that must notice."""

from __future__ import annotations

from mutant_table.cpp import CPP
from mutant_table.cuda import CUDA
from mutant_table.mutant import Mutant
from mutant_table.python import PYTHON

__all__ = ["CPP", "CUDA", "PYTHON", "Mutant"]
