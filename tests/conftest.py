"""Settings every test starts from and must leave as they were."""

from __future__ import annotations

import signal

import pytest

import pyformer as pf
from pyformer import _core


@pytest.fixture(autouse=True, scope="session")
def _answer_interrupts():
    """A shell's background job ignores Ctrl-C, and with it what the tests of interrupts send."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _restore_settings():
    isa, threads = _core.isa(), pf.get_num_threads()
    yield
    _core.set_isa(isa)
    pf.set_num_threads(threads)
    _core.set_guard_mode(False)
    assert _core.guard_violations() == 0, "something wrote outside its memory"
