"""The command line: help, standard input, folders, configurations, JSON, evaluation, what is said beforehand."""

from __future__ import annotations

import json
import logging
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pyformer as pf
from pyformer import _core, data, models, tokenizers
from pyformer.cli import jobs, make_parser
from pyformer.cli.derive import DEFAULTS
from pyformer.datasets import fetching
from pyformer.experiments import compare_tasks, derive

TINY = "--layers 1 --heads 2 --embed 16 --context 8 --batch 2 --eval-batches 2 --sample-every 0"
TINY = [*TINY.split(), "--threads", "1"]
TEXT = "the quick brown fox jumps over the lazy dog\n" * 20


def run(folder, *args, code=0, stdin=None):
    command = [sys.executable, "-m", "pyformer", *map(str, args)]
    given = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=600, encoding="utf-8", **given)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    (folder / "text.txt").write_text(TEXT)
    run(folder, "train", "text.txt", "--out", "run", "--steps", 12, *TINY)
    return folder


def test_nothing_is_help_and_version_is_short(tmp_path):
    assert run(tmp_path).stdout == run(tmp_path, "--help").stdout
    assert run(tmp_path, "help").stdout == run(tmp_path, "--help").stdout
    assert run(tmp_path, "help", "train").stdout == run(tmp_path, "train", "--help").stdout
    assert run(tmp_path, "-V").stdout == f"pyformer {pf.__version__}\n"


def test_an_error_names_the_command_once(trained):
    done = run(trained, "explain", "run", "--text", "", code=2)
    assert done.stderr.startswith("pyformer explain: expected a text of 1 to 8 tokens")


def test_quiet_says_nothing_and_verbose_begins_with_the_build(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    done = run(tmp_path, "train", "text.txt", "-q", "--out", "a", "--steps", 2, *TINY)
    assert (done.stdout, done.stderr) == ("", "")
    done = run(tmp_path, "train", "--resume", "-q", "--out", "a", "--steps", 3)
    assert (done.stdout, done.stderr) == ("", "")
    done = run(tmp_path, "train", "text.txt", "-v", "--out", "b", "--steps", 2, *TINY)
    assert done.stderr.startswith(f"pyformer {pf.__version__}\ninstruction set: ")
    assert "parameters" in done.stderr
    assert "threads: 3\n" in run(tmp_path, "info", "-v", "--threads", 3).stderr


def test_piped_progress_is_lines(trained, tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    done = run(tmp_path, "train", "text.txt", "--out", "a", "--steps", 5, *TINY)
    assert "\r" not in done.stderr
    bars = [line for line in done.stderr.splitlines() if "5/5" in line]
    assert len(bars) == 1
    assert bars[0] == bars[0].strip()


def test_text_by_standard_input_is_kept_for_resume(tmp_path):
    run(tmp_path, "train", "-", "--out", "a", "--steps", 3, *TINY, stdin=TEXT)
    assert (tmp_path / "a" / "text.txt").read_text() == TEXT
    run(tmp_path, "train", "--resume", "--out", "a", "--steps", 5)
    (tmp_path / "text.txt").write_text(TEXT)
    run(tmp_path, "train", "text.txt", "--out", "b", "--steps", 3, *TINY)
    run(tmp_path, "train", "--resume", "--out", "b", "--steps", 5)
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()


def test_a_folder_is_its_texts_in_the_order_of_their_names(tmp_path):
    folder = tmp_path / "texts"
    (folder / "b").mkdir(parents=True)
    for name, text in (("c.txt", "third"), ("a.md", "first"), ("b/x", "second"), (".hidden", "no")):
        (folder / name).write_text(text)
    (folder / "picture.png").write_bytes(b"\x89\0")
    assert data.read_text([folder]) == "first\nsecond\nthird"
    done = run(tmp_path, "train", "texts", "--out", "a", "--steps", 1, *TINY, code=2)
    assert "picture.png: no UTF-8 text, left out" in done.stderr


def test_a_runs_own_record_is_a_config(trained, tmp_path):
    record = json.loads((trained / "run" / "training.json").read_text())
    run(tmp_path, "train", "--config", trained / "run" / "training.json", "--out", "again", "--threads", 1)
    again = json.loads((tmp_path / "again" / "training.json").read_text())
    assert again == record
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        trained / "run" / "model.safetensors"
    ).read_bytes()
    (tmp_path / "more.json").write_text('{"steps": 3, "lr": 0.01, "layers": 1}')
    run(tmp_path, "train", trained / "text.txt", "--config", "more.json", "--out", "other", *TINY, "--lr", 0.5)
    settings = json.loads((tmp_path / "other" / "training.json").read_text())["settings"]
    assert (settings["steps"], settings["lr"]) == (3, 0.5)  # an option wins


def test_generate_takes_prompts_from_everywhere(trained, tmp_path):
    options = ["generate", trained / "run", "--tokens", 5, "--seed", 3]
    expected = run(tmp_path, *options, "--prompt", "the quick").stdout
    assert expected.startswith("the quick")
    assert run(tmp_path, *options, stdin="the quick\n").stdout == expected
    (tmp_path / "prompt.txt").write_text("the quick\n")
    assert run(tmp_path, *options, "--prompt-file", "prompt.txt").stdout == expected
    assert run(tmp_path, *options, "--prompt-file", "-", stdin="the quick\n").stdout == expected
    assert run(tmp_path, *options, "--interactive", stdin="the quick\n").stdout == expected
    several = run(tmp_path, *options, "-i", stdin="the quick\n\nthe lazy\n").stdout
    assert several.startswith(expected)
    assert "the lazy" in several[len(expected) :]


def test_several_samples_and_json(trained, tmp_path):
    options = ["generate", trained / "run", "--tokens", 5, "--prompt", "the "]
    single = [run(tmp_path, *options, "--seed", seed).stdout for seed in (3, 4)]
    done = run(tmp_path, *options, "--seed", 3, "--samples", 2).stdout
    assert done == f"--- 1 of 2\n{single[0]}--- 2 of 2\n{single[1]}"
    lines = [
        json.loads(line)
        for line in run(tmp_path, *options, "--seed", 3, "--samples", 2, "--json").stdout.split("\n")[:-1]
    ]
    assert [line["prompt"] + line["text"] + "\n" for line in lines] == single
    assert [(line["seed"], line["prompt_tokens"], line["tokens"]) for line in lines] == [(3, 4, 5), (4, 4, 5)]


def test_eval_is_the_loss_of_every_token_but_the_first(trained, tmp_path):
    text = TEXT[:101]
    (tmp_path / "test.txt").write_text(text)
    got = json.loads(run(tmp_path, "eval", trained / "run", "test.txt", "--json", "--batch", 3).stdout)
    model, tokenizer = models.from_pretrained(trained / "run"), tokenizers.load(trained / "run")
    tokens, total = tokenizer.encode(text), 0.0
    with pf.nn.inference():
        for start in range(0, 100, 8):
            ids = tokens[start : min(start + 8, 100)]
            logits = model(ids[None])[0]
            total += pf.ops.cross_entropy(logits, tokens[start + 1 : start + 1 + len(ids)], reduction="sum").item()
    assert (got["tokens"], got["bytes"]) == (100, 101)
    assert got["loss"] == pytest.approx(total / 100, rel=1e-6)
    assert got["perplexity"] == pytest.approx(math.exp(total / 100), rel=1e-6)
    assert got["bits_per_byte"] == pytest.approx(total / math.log(2) / 101, rel=1e-6)
    shown = run(tmp_path, "eval", trained / "run", "-", stdin=text).stdout
    assert f"{got['loss']:.4f} nats per byte over 100" in shown
    assert f"{got['bits_per_byte']:.4f} bits per byte" in shown
    assert "too short" in run(tmp_path, "eval", trained / "run", "-", stdin="a", code=2).stderr


def test_info_as_json(trained, tmp_path):
    build = json.loads(run(tmp_path, "info", "--json").stdout)
    assert build["version"] == pf.__version__
    assert build["threads"] >= 1
    values = json.loads(run(tmp_path, "info", trained / "run", "--json").stdout)
    assert (values["model"], values["steps"], values["tokenizer"]) == ("GPT", 12, {"kind": "byte", "tokens": 256})
    assert values["parameters"] == models.from_pretrained(trained / "run").num_parameters()
    assert values["config"]["context_length"] == 8
    assert values["validation_loss"]["step"] == 12


def test_validation_is_drawn_from_all_files():
    text = "\n".join(f"{name} {i:05d}" for name in "abcd" for i in range(3000))
    train, validation = data.split_text(text, seed=5)
    lines = validation.splitlines()
    assert 0.08 < len(validation) / len(text) < 0.12
    for name in "abcd":
        assert 100 < sum(line.startswith(name) for line in lines) < 600
    assert sorted([*train.splitlines(), *lines]) == sorted(text.splitlines())  # cut at line ends
    assert data.split_text(text, seed=5) == (train, validation)
    assert data.split_text(text, seed=6)[1] != validation
    for whole in ("", "x", "one long line " * 5000, "\n" * 30):
        parts = data.split_text(whole)
        assert sorted("".join(parts)) == sorted(whole)


def test_blocks_or_the_end_are_a_setting_and_old_runs_keep_theirs(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT + TEXT.upper())
    run(tmp_path, "train", "text.txt", "--out", "old", "--validation", "end", "--steps", 4, *TINY)
    record = json.loads((tmp_path / "old" / "training.json").read_text())
    assert record["settings"].pop("validation") == "end"
    (tmp_path / "old" / "training.json").write_text(json.dumps(record))
    run(tmp_path, "train", "--resume", "--out", "old", "--steps", 6)
    run(tmp_path, "train", "text.txt", "--out", "new", "--validation", "end", "--steps", 4, *TINY)
    run(tmp_path, "train", "--resume", "--out", "new", "--steps", 6)
    run(tmp_path, "train", "text.txt", "--out", "blocks", "--steps", 4, *TINY)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("old", "new", "blocks")]
    assert weights[0] == weights[1] != weights[2]


def test_completion_is_by_shtab(tmp_path, monkeypatch, capsys):
    class Shtab:
        FILE, DIRECTORY = {"bash": "_shtab_compgen_files"}, {"bash": "_shtab_compgen_dirs"}

        @staticmethod
        def complete(parser, shell):
            return f"{shell}: {sorted(parser.commands)}"

    from pyformer import cli

    monkeypatch.setitem(sys.modules, "shtab", Shtab)
    assert cli.main(["completion", "bash"]) == 0
    assert capsys.readouterr().out == f"bash: {sorted(make_parser().commands)}\n"
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert cli.main(["completion", "zsh"]) == 2
    assert "pip install 'pyformer[completion]'" in capsys.readouterr().err


def test_defaults_take_under_five_minutes():
    names = list(derive.make_jobs(dict.fromkeys(derive.SECONDS), derive.Budget(steps=1)))
    costs = derive.costs(names)
    assert len(costs) == len(names) == sum(map(len, derive.SECONDS.values()))
    assert derive.seconds_of(costs, derive.Budget(DEFAULTS["steps"]), [True] * len(costs)) < 300
    assert derive.seconds_of(costs, derive.Budget(seconds=2.0), [True] * len(costs)) > 2 * 60
    text = compare_tasks.text_task("x y " * 2000)
    assert 1.4 * text.seconds * len(text.entrants) < 300


def test_the_bar_tells_what_is_left_by_the_cost_of_jobs(capsys, monkeypatch):
    with jobs.JobBar([1.0, 3.0, 6.0], hidden=False) as bar:
        bar.skip(0)
        monkeypatch.setattr(bar.bar, "_time", lambda: bar.bar.start_t + 12.0)
        bar.reporter(1, "second")(0.5, "loss 1.0")
        bar.bar.refresh()
        # A tenth is spent by a job of before, 1.5 tenths took 12 seconds, and 7.5 are left.
        assert "2/3 second  25%" in capsys.readouterr().err.splitlines()[-1]
        assert bar.bar.format_dict["elapsed"] == 12.0
        line = str(bar.bar)
    assert "00:12, 01:00 left, loss 1.0" in line
    assert [jobs.minutes(s) for s in (3, 62, 100, 290)] == ["5 seconds", "60 seconds", "2 minutes", "5 minutes"]


@pytest.mark.parametrize("fetch", [fetching._fetch_sdist, fetching._fetch_deb])
def test_downloads_are_announced_before_they_start(fetch, monkeypatch, tmp_path, caplog):
    def stop(command, **options):
        said.extend(record.getMessage() for record in caplog.records)
        return subprocess.CompletedProcess(command, 1, stderr=b"")

    said = []
    monkeypatch.setenv("PYFORMER_CACHE", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", stop)
    monkeypatch.setattr(fetching.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(logging.getLogger("pyformer"), "propagate", True)  # a command in this process sets it
    source = (
        fetching.Sdist("words", "1.0", "0" * 64, 3.25)
        if fetch is fetching._fetch_sdist
        else fetching.Deb("words", "no", ("a",), "0" * 64, 3.25)
    )
    with caplog.at_level("WARNING", logger="pyformer"), pytest.raises(fetching.DataUnavailable):
        fetch(source, tmp_path / "words.archive")
    assert len(said) == 1
    for part in ("words", "3.2 MB", str(tmp_path)):
        assert part in said[0]


def test_pip_is_found_where_the_environment_has_none(monkeypatch, tmp_path):
    find = fetching.importlib.util.find_spec
    monkeypatch.setattr(fetching.importlib.util, "find_spec", lambda name: None if name == "pip" else find(name))
    command = fetching._pip("words==1", "by hand")
    done = subprocess.run([*command, "--version"], capture_output=True, encoding="utf-8", cwd=tmp_path)
    assert done.stdout.startswith("pip "), done.stderr
    monkeypatch.setattr(fetching.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(fetching.shutil, "which", lambda name: "/bin/uv" if name == "uv" else None)
    assert fetching._pip("words==1", "by hand") == ["uv", "tool", "run", "pip"]
    monkeypatch.setattr(fetching.shutil, "which", lambda name: None)
    with pytest.raises(fetching.DataUnavailable, match=r"words==1: .*no pip.*by hand"):
        fetching._pip("words==1", "by hand")


def test_windows_hold_every_token_once():
    from pyformer.cli.evaluate import _windows

    for count in (2, 5, 8, 9, 10, 33):
        tokens = np.arange(count)
        pairs = _windows(tokens, 4, 2)
        assert np.concatenate([ids.ravel() for ids, _ in pairs]).tolist() == list(range(count - 1))
        assert all((targets == ids + 1).all() for ids, targets in pairs)


def test_an_installed_benchmark_lists_its_items(tmp_path, monkeypatch, capfd):
    """The files that CMake installs, in a folder of their own: what they import is there."""
    from pyformer import cli

    room, checkout = tmp_path / "installed" / "_bench", Path(__file__).parents[1]
    rules = re.findall(
        r"install\((DIRECTORY|FILES) (\S+) DESTINATION pyformer/_bench(\S*)", (checkout / "CMakeLists.txt").read_text()
    )
    assert len(rules) == 3
    for kind, source, target in rules:
        folder = room / target.strip("/)")
        if kind == "DIRECTORY":
            ignore = shutil.ignore_patterns("results", "__pycache__", "*.md", "*.svg")
            shutil.copytree(checkout / source, folder / Path(source).name, ignore=ignore)
        else:
            folder.mkdir(parents=True)
            shutil.copy(checkout / source, folder)
    monkeypatch.setattr(pf, "__path__", [str(room.parent)])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(_core.__file__).parents[1]))
    assert cli.main(["bench", "--list", "--quick"]) == 0
    assert "matmul" in capfd.readouterr().out
    assert cli.main(["bench", "--threads", "0"]) == 2
    said = capfd.readouterr().err
    assert said.startswith("usage: pyformer bench ")
    assert "pyformer bench: error: --threads" in said
    assert cli.main(["bench", "--list", "--nonsense"]) == 2
    options = set(re.findall(r"--[a-z]+", capfd.readouterr().err.partition(" error: ")[0]))
    with pytest.raises(SystemExit):
        cli.main(["bench", "--help"])
    assert len(options) > 5
    assert options <= set(re.findall(r"--[a-z]+", capfd.readouterr().out))
