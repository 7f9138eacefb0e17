"""The commands that take --device, on the emulated one: each gives what it gives on the CPU."""

from __future__ import annotations

import json
from types import SimpleNamespace

import cuda_device
import pytest

from pyformer import _core, cli
from pyformer.experiments import compare, compare_tasks, derive

DEVICE = "cuda:emulated"
SMALL = (
    "--layers 1 --heads 2 --embed 8 --context 8 --batch 2 --eval-batches 1 --sample-every 0 --tokenizer char --quiet"
)


@pytest.fixture(autouse=True, scope="module")
def _device():
    cuda_device.library()
    cuda_device.schedule("drawn,late,seed=9")
    yield
    cuda_device.schedule("lowest,early")


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the quick brown fox jumps over the lazy dog\n" * 20)
    return path


def lines(run):
    """The metrics of a run without times."""
    every = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "tokens_per_second"} for line in every]


def test_a_run_goes_on_elsewhere(tmp_path, text):
    _core.set_isa("ref")
    found = []
    for name, devices in (("stays", ("cpu", "cpu")), ("moves", (DEVICE, "cpu")), ("comes", ("cpu", DEVICE))):
        run = tmp_path / name
        command = ["train", str(text), "--out", str(run), *SMALL.split(), "--steps", "3", "--device", devices[0]]
        assert cli.main(command) == 0
        more = ["train", "--resume", "--out", str(run), "--steps", "5", "--device", devices[1], "--quiet"]
        assert cli.main(more) == 0
        found.append(lines(run))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_train_resume_and_generate(tmp_path, text, capsys, dtype):
    _core.set_isa("ref")
    found, texts = [], []
    for device in ("cpu", DEVICE):
        run = tmp_path / device
        command = ["train", str(text), "--out", str(run), *SMALL.split(), "--dtype", dtype]
        assert cli.main([*command, "--steps", "3", "--device", device]) == 0
        assert cli.main(["train", "--resume", "--out", str(run), "--steps", "5", "--quiet"]) == 0
        capsys.readouterr()
        assert (
            cli.main(["generate", str(run), "--prompt", "the", "--tokens", "5", "--seed", "1", "--device", device]) == 0
        )
        found.append(lines(run))
        texts.append(capsys.readouterr().out)
    assert [line["step"] for line in found[0]] == [line["step"] for line in found[1]]
    if dtype == "float32":
        assert found[0] == found[1]
        assert texts[0] == texts[1]
    for here, there in zip(*found, strict=True):
        assert there == pytest.approx(here, rel=1e-2)


def test_compare(tmp_path, text):
    out = tmp_path / "out"
    command = ["compare", str(text), "--models", "mlp", "--steps", "2", "--parameters", "3246", "--out", str(out)]
    assert cli.main([*command, "--device", DEVICE, "--quiet"]) == 0
    record = json.loads((out / "results.json").read_text())
    assert record["settings"]["device"] == DEVICE


def test_derive(tmp_path, monkeypatch):
    """One of its trainings, as the others take the emulator hours."""
    name, make_jobs, found = "lookup/attention/4", derive.make_jobs, []
    monkeypatch.setattr(cli.derive, "_load_tasks", lambda seed: {})
    monkeypatch.setattr(derive, "make_jobs", lambda *args: {name: make_jobs(*args)[name]})
    _core.set_isa("ref")
    for device in ("cpu", DEVICE):
        assert cli.main(["derive", "--steps", "1", "--device", device, "--out", str(tmp_path / device)]) == 0
        record = json.loads((tmp_path / device / "results.json").read_text())
        assert record["settings"]["device"] == device
        found.append(record["results"][name])
    assert found[0]["loss"] == found[1]["loss"]
    assert found[0]["accuracy"] == found[1]["accuracy"]


def test_time_is_that_of_the_device(monkeypatch):
    """Not that of queueing: by a clock that counts what kernels did."""
    clock = SimpleNamespace(perf_counter=lambda: float(sum(cuda_device.counts().values())))
    monkeypatch.setattr(compare, "time", clock)
    monkeypatch.setattr(derive, "time", clock)
    monkeypatch.setattr(derive, "GROWTH_LENGTHS", (4, 8))
    growth = derive.measure_growth("sum", lambda done, text: None, rows=1, repeats=1, device=DEVICE)
    assert 0 < growth["ms"][0] < growth["ms"][1]

    task = compare_tasks.text_task("the quick brown fox jumps over the lazy dog\n" * 20)
    entrant = task.entrants["mlp"]
    model = compare.make_model(entrant, compare.find_size("mlp", entrant, 3246), 0, DEVICE)
    race = compare.Race(model, task, entrant.rate, compare.Budget(steps=1), 0)
    assert race.race()
    assert race.seconds > 0
    assert "peak_mb" not in race.result()
