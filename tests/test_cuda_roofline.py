"""What bench/cuda_roofline.py makes of counts, and that it notices a kernel that it has no row for."""

from __future__ import annotations

import sys
from pathlib import Path

import cuda_device
import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def roofline(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    import bench.cuda_roofline

    return bench.cuda_roofline


def counts(**some):
    return {**dict.fromkeys(cuda_device.OF_KERNEL, 0), **some}


def test_the_slowest_bounds(roofline):
    card = roofline.Card(flops=1e12, bytes=1e9, multiprocessors=1, hertz=1e6, fmas=1000, by_mma=0.5)

    def predicted(**some):
        return roofline.predicted(counts(**some), card)

    assert predicted(sectors=1, different_sectors=1000) == (1.0, "memory")
    share, bound = predicted(sectors=100_000, different_sectors=1000)
    assert bound == "cache"
    assert share == pytest.approx(1000 * 32 / 1e9 / (100_000 * 32 / 64 / 1e6))
    assert predicted(mma=1, operations=10**9) == (0.5, "tensor cores")
    assert predicted(wgmma=1, operations=10**9) == (1.0, "tensor cores")
    assert predicted(fmas=10**9) == (1.0, "FMAs")
    assert predicted(mma=1, operations=10**9, fmas=10**9) == (1.0, "FMAs")
    assert predicted(wgmma=1, operations=10**9, wavefronts=4000) == (pytest.approx(0.25), "shared memory")
    assert predicted(accesses=8, different_sectors=1).bound == "instructions"


def test_kernels_are_named():
    symbol = "void pyformer::cuda::rows<pyformer::cuda::(anonymous namespace)::SoftmaxRow<pyformer::BFloat16, false>, "
    symbol += "pyformer::cuda::LaneTeam<float> >(pyformer::cuda::Counted<pyformer::cuda::SoftmaxRow<float>::Args>)"
    assert cuda_device.kernel_of(symbol) == "rows<SoftmaxRow<T, false>, LaneTeam<T>>"
    cuda_device.library()
    names = set(cuda_device.kernels().values())
    assert {"adamw_step<T>", "multiply_sm90<T, 64, (Major)0, (Major)0>", "items<ClearElement<T>>"} <= names
    assert "elementwise::find_zero<T>" in names
    assert not {name for name in names if name.startswith("start") or "::multiply<" in name}


def test_a_kernel_without_a_row_is_noticed(roofline, monkeypatch, capsys):
    cuda_device.library()
    monkeypatch.setattr(cuda_device, "target", cuda_device.EMULATED)
    monkeypatch.setattr(sys, "argv", ["cuda_roofline"])
    monkeypatch.setattr(roofline, "WORKS", {"linear": lambda: roofline.linear(8, 8, 16)})
    monkeypatch.setattr(roofline, "cases", lambda: [])
    assert roofline.main() == 1
    told = capsys.readouterr().out
    assert "\nmultiply_thin<T, T, T> " in told
    assert "no row: adamw_step<T>" in told
    assert "no row: multiply_thin" not in told
    cuda_device.schedule("lowest,early")


def test_every_kernel_has_a_row(roofline, monkeypatch, capsys):
    """Here with the device of the other tests, which leaves out the bytes of plain accesses."""
    cuda_device.library()
    monkeypatch.setattr(cuda_device, "target", cuda_device.EMULATED)
    monkeypatch.setattr(sys, "argv", ["cuda_roofline"])
    assert roofline.main() == 0, capsys.readouterr().out
    told = capsys.readouterr().out
    for name in ("multiply_sm90<T, 192,", *(f"attention_{n}_sm90<T, 128>" for n in ("forward", "dq", "dk_dv"))):
        assert f"\n{name}" in told
    cuda_device.schedule("lowest,early")
