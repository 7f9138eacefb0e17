"""bench/gpu.sh on the emulated device, so that no run on a GPU ends at a typing error."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import cuda_device

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
    ceilings = [json.loads(line) for line in (tmp_path / "ceilings.jsonl").read_text().splitlines()]
    assert all(result.get("GB/s", result.get("TFLOP/s")) > 0 for result in ceilings)
    results = [json.loads(line) for line in (tmp_path / "gpu.jsonl").read_text().splitlines()]
    assert [result for result in results if "error" in result] == []
    names = {result["name"] for result in results}
    assert {"ten steps beside PyTorch", "training step", "decoding"} <= names
    assert {f"{name} beside torch.compile" for name in ("training step", "decoding, a recorded step")} <= names
