"""The one table of cases that tests and benchmarks iterate: every file of case_tables adds its rows."""

from __future__ import annotations

import importlib
import pkgutil

import case_tables
from case_tables.case import Case


def _gather() -> list[Case]:
    cases: list[Case] = []
    for module in sorted(m.name for m in pkgutil.iter_modules(case_tables.__path__)):
        cases += getattr(importlib.import_module(f"case_tables.{module}"), "CASES", [])
    return cases


CASES = _gather()
TEST_CASES = [case for case in CASES if not case.bench]
BENCH_CASES = [case for case in CASES if case.bench]
