"""The machine's measured limits, which benchmarks are set against."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import pyformer as pf
from pyformer import _core


def test_fma_peak_of_both_dtypes():
    for dtype in (pf.float32, pf.float64):
        assert _core.fma_peak_gflops(dtype, 1) > 0


def test_bfloat16_peak():
    peak = _core.bfloat16_peak_gflops(1)
    assert peak > 0 if _core.bfloat16_isa() != "ref" else peak >= 0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="asks Linux for one CPU")
def test_round_trip_needs_two_cpus():
    script = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); import pyformer._core as c; "
    script += "print(c.round_trip_ns())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(done.stdout) == 0.0
    if len(os.sched_getaffinity(0)) > 1:
        assert _core.round_trip_ns() > 5.0


def test_bad_arguments():
    with pytest.raises(TypeError, match="fma_peak_gflops: expected float32 or float64, got int64"):
        _core.fma_peak_gflops(pf.int64, 1)
    with pytest.raises(ValueError, match="fma_peak_gflops: threads must be 1 to 1024, got 0"):
        _core.fma_peak_gflops(pf.float32, 0)
    with pytest.raises(ValueError, match="bfloat16_peak_gflops: threads must be 1 to 1024, got 0"):
        _core.bfloat16_peak_gflops(0)
    with pytest.raises(ValueError, match="read_bandwidth_gbps: threads must be 1 to 1024, got 1025"):
        _core.read_bandwidth_gbps(1025)
    with pytest.raises(ValueError, match="copy_bandwidth_gbps: threads must be 1 to 1024, got 0"):
        _core.copy_bandwidth_gbps(0)
