"""bench/gpu.sh on the emulated device, so that no run on a GPU ends at a typing error."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import cuda_device

ROOT = Path(__file__).parent.parent


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
    for part in ("cases", "training", "speed", "table"):
        assert f"{part}: ok" in report, report
    results = [json.loads(line) for line in (tmp_path / "gpu.jsonl").read_text().splitlines()]
    assert [result for result in results if "error" in result] == []
    assert {"ten steps beside PyTorch", "training step", "decoding"} <= {result["name"] for result in results}
