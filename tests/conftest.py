"""Settings every test starts from and must leave as they were."""

from __future__ import annotations

import pytest

import pyformer as pf
from pyformer import _core


@pytest.fixture(autouse=True)
def _restore_settings():
    isa, threads = _core.isa(), pf.get_num_threads()
    yield
    _core.set_isa(isa)
    pf.set_num_threads(threads)
    _core.set_guard_mode(False)
    assert _core.guard_violations() == 0, "something wrote outside its memory"
