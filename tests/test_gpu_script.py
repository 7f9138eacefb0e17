"""bench/gpu.sh on the emulated device, so that no run on a GPU ends at a typing error."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import cuda_device
import pytest

import pyformer as pf

ROOT = Path(__file__).parent.parent


def test_the_limits_of_all_parts_are_400_s_together():
    script = (ROOT / "bench/gpu.sh").read_text()
    limits = re.findall(r'\b(?:part|run) ("?[a-z]+)[^"0-9]*"? (\d+) ', script)
    assert [name for name, _ in limits] == [
        *("machine", "build", "primitives", "ceilings", "cases", '"sanitizer', "training", "speed", "table"),
    ]
    assert sum(int(limit) * (4 if "sanitizer" in name else 1) for name, limit in limits) <= 400


def test_every_part_runs(tmp_path):
    library = cuda_device.library()
    environment = {
        **os.environ,
        "DEVICE": "cuda:emulated",
        "GPU_BUILD": "none",
        "OUT": str(tmp_path),
        "PYFORMER_DEVICE_PATH": str(Path(library._name).parent),
    }
    done = subprocess.run(["bash", ROOT / "bench/gpu.sh"], capture_output=True, text=True, env=environment)
    report = (tmp_path / "report.txt").read_text()
    assert done.returncode == 0, report + done.stderr + (tmp_path / "log.txt").read_text()[-4000:]
    for part in ("ceilings", "cases", "training", "speed", "table"):
        assert f"{part}: ok" in report, report
    assert "\n    emulated on the CPU\n    work " in report, report
    ceilings = [json.loads(line) for line in (tmp_path / "ceilings.jsonl").read_text().splitlines()]
    assert all(result.get("GB/s", result.get("TFLOP/s")) > 0 for result in ceilings)
    results = [json.loads(line) for line in (tmp_path / "gpu.jsonl").read_text().splitlines()]
    assert [result for result in results if "error" in result] == []
    names = {result["name"] for result in results}
    assert {"ten steps beside PyTorch", "training step", "decoding"} <= names
    assert {f"{name} beside torch.compile" for name in ("training step", "decoding, a recorded step")} <= names


@pytest.mark.parametrize(
    ("smi", "told"),
    [
        ("echo '580.65, 1830 MHz, 1980 MHz'", "driver 580.65, 1830 MHz of 1980 MHz"),
        ("exit 9", "driver and clock not told"),
    ],
)
def test_the_table_names_card_driver_and_clock(tmp_path, monkeypatch, capsys, smi, told):
    monkeypatch.syspath_prepend(ROOT)
    import bench.gpu

    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{smi}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    properties = pf.cuda.DeviceProperties("H100", 1 << 30, (9, 0), 132)
    monkeypatch.setattr(pf.cuda, "get_device_properties", lambda device: properties)
    (tmp_path / "gpu.jsonl").write_text("")
    assert bench.gpu.print_table(tmp_path / "gpu.jsonl", "cuda") == 0
    assert capsys.readouterr().out.splitlines()[0] == f"H100, {told}"
