"""Rivals of the benchmark that may or may not be installed. Runs on a checkout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from cases import BENCH_CASES

import pyformer as pf

ROOT = Path(__file__).parent.parent
LOSSES = [4.0, 3.5, 3.0]
# A rival's process: for each line it is sent, one answer.
ANSWERS = """
import sys
for _, answer in zip(sys.stdin, {answers}):
    print(answer, flush=True)
"""


@pytest.fixture
def rivals(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    import bench.rivals

    return bench.rivals


@pytest.fixture
def install(rivals, monkeypatch, tmp_path):
    """install(source) makes the only rival there is, of both kinds of work, a program."""

    def install(source, **options):
        (tmp_path / "rival_program.py").write_text(source)
        fakes = {work: rivals.Rival("rival_program", work, **options) for work in ("training", "decoding")}
        monkeypatch.setattr(rivals, "RIVALS", fakes)

    return install


@pytest.fixture
def model():
    return pf.models.GPT(pf.models.GPTConfig(9, 8, 1, 2, 8))


@pytest.fixture
def train(rivals, model):
    """What takes part in training, and the errors of what doesn't."""
    from bench.measure import Settings

    ids = np.zeros((2, 4), np.int64)
    settings = Settings(threads=1, repetitions=1)
    return lambda: rivals.training(model, (ids, ids), LOSSES, settings, learning_rate=1e-3, clip=1.0)


def answers(*values):
    return ANSWERS.format(answers=list(values))


def test_a_missing_rival_is_left_out(rivals, install, train):
    install(answers(*LOSSES), imports=("sys", "no_such_package_anywhere"))
    assert rivals.versions() == {}
    with train() as (processes, errors):
        assert processes == {}
        assert errors == {}


def test_a_rival_takes_part_after_the_checked_steps(install, train):
    install(answers(*LOSSES, 2.5))
    with train() as (processes, errors):
        assert errors == {}
        assert processes["training"]() == 2.5
        process = processes["training"]._process
    assert process.returncode is not None


def test_another_loss_is_reported(install, train):
    install(answers(4.0, 3.6, 3.0))
    with train() as (processes, errors):
        assert processes == {}
        assert "loss of step 2" in errors["training"]


def test_a_crash_is_reported_with_its_last_line(install, train):
    install("raise ValueError('no luck')")
    with train() as (processes, errors):
        assert processes == {}
        assert errors["training"] == "ValueError: no luck"


def test_a_rival_that_says_nothing_is_ended(rivals, install, train, monkeypatch):
    monkeypatch.setattr(rivals, "FIRST_ANSWER_S", 0.2)
    install("import time; time.sleep(60)")
    with train() as (processes, errors):
        assert processes == {}
        assert errors["training"].startswith("no answer within")


def test_a_slow_rival_is_not_repeated(rivals, install, train, monkeypatch):
    monkeypatch.setattr(rivals, "SLOW_S", 0.0)
    install(answers(*LOSSES))
    with train() as (processes, errors):
        assert processes == {}
        assert errors["training"].startswith("a step took")


@pytest.mark.parametrize("tokens", [[[1, 2, 3], [4, 5, 6]], [[1, 2, 3]]])
def test_decoded_tokens_are_verified(rivals, install, model, tokens):
    from bench.measure import Settings

    def verify(answer):
        assert answer.tolist() == [[0, 0, 1, 2, 3], [0, 0, 4, 5, 6]]

    install(answers(tokens))
    ids = np.zeros((2, 2), np.int64)
    with rivals.decoding(model, ids, verify, Settings(1, 1), new_tokens=3) as (processes, errors):
        if len(tokens) == 2:
            assert list(processes) == ["decoding"]
            assert errors == {}
        else:
            assert errors == {"decoding": "shape (1, 3) of the new tokens"}


def test_a_job_comes_back_as_it_was_saved(rivals, tmp_path):
    from bench.rivals.job import Job

    weights = {"h.0.w": np.arange(6, dtype=np.float32).reshape(2, 3)}
    job = Job(weights, {"ids": np.arange(3)}, {"threads": 2, "clip": 0.5})
    job.save(tmp_path / "job")
    again = Job.load(tmp_path / "job")
    assert again.settings == job.settings
    np.testing.assert_array_equal(again.weights["h.0.w"], weights["h.0.w"])
    np.testing.assert_array_equal(again.arrays["ids"], job.arrays["ids"])


def test_the_command_line_names_the_rivals(rivals, install, capsys):
    from bench.__main__ import parse_arguments

    install("", imports=("no_such_package_anywhere",))
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    assert "none; absent: training, decoding." in " ".join(capsys.readouterr().out.split())


def test_attention_is_set_against_torchs_fused_one(monkeypatch):
    fused, calls = torch.nn.functional.scaled_dot_product_attention, []

    def counted(*args, **options):
        calls.append(options)
        return fused(*args, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    cases = [case for case in BENCH_CASES if case.op.startswith("attention")]
    assert cases
    for case in cases:
        del calls[:]
        case.torch(torch, torch.zeros(1, 2, 3, 2, 8))
        assert calls == [{"is_causal": True}], case.id
