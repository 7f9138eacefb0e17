"""PYFORMER_DEVICE: what names no device runs there, and every command with `--device`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import second_device
from test_cli import TEXT, TINY

TESTS = Path(__file__).parent
SLICE = (
    "test_files.py::test_round_trip_has_the_same_bits",
    "test_files.py::test_half_precision_is_saved_and_opened_wide",
    "test_files.py::test_every_dtype_survives",
    "test_files.py::test_state_round_trip",
    "test_generate.py::test_cached_equals_uncached",
    "test_generate.py::test_rows_do_not_depend_on_their_neighbours",
    "test_generate.py::test_seeds",
    "test_generate.py::test_sampling_follows_the_distribution",
    "test_generate.py::test_rows_join_and_leave_while_others_go_on",
    "test_generate.py::test_training_mode_of_state_models_does_not_drop_out",
)
# What the host computes on its way to a model, and models that draw their first values.
COMPUTED = """
import numpy as np, pyformer as pf
x = pf.ones(1, 3, 8)
assert x.device == "second"
assert pf.ops.rope_frequencies(8).device == "second"
retention = pf.nn.MultiScaleRetention(8, 2)
forms = [retention(x, form=form)[0].to("cpu").numpy() for form in ("chunked", "parallel", "recurrent")]
assert all(np.allclose(form, forms[0], atol=1e-5) for form in forms)
assert pf.nn.KVCache(1, 1, 2).keys[0].device == "second"
pf.nn.sinusoidal_positions(3, 4), pf.nn.alibi_slopes(3)
from pyformer.models.derivation import POSITIONS
for position in POSITIONS.values():
    assert position(4, 8)(pf.ones(2, 3, 8)).device == "second"
config = pf.models.DiTConfig(8, num_layers=1, num_heads=2, embed_dim=8)
assert pf.models.DiT(config).sample([0], steps=1).device == "second"
"""


def environment(default=None):
    """Of a fresh process, which finds the device by itself; `default` is its PYFORMER_DEVICE."""
    folder = Path(second_device.library()._name).parent
    named = {} if default is None else {"PYFORMER_DEVICE": default}
    paths = os.pathsep.join(p for p in sys.path if p)
    return {**os.environ, "PYFORMER_DEVICE_PATH": str(folder), "PYTHONPATH": paths, **named}


def run(folder, *command, default=None, code=0):
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=folder,
        env=environment(default),
        capture_output=True,
        timeout=600,
        encoding="utf-8",
    )
    assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_files_and_generation(tmp_path):
    tests = [TESTS / test for test in SLICE]
    run(TESTS.parent, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests, default="second")


def test_what_the_host_computes_it_computes_on_the_cpu(tmp_path):
    run(tmp_path, "-c", COMPUTED, default="second")


@pytest.mark.parametrize("by", ["option", "environment"])
def test_every_command(by, tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    option, default = (("--device", "second"), None) if by == "option" else ((), "second")

    def pyformer(*words):
        return run(tmp_path, "-m", "pyformer", *words, *option, default=default)

    common = ("--out", "run", "--average", 0.5, "--eval-every", 2, *TINY)
    pyformer("train", "text.txt", *common, "--steps", 4)
    assert pyformer("generate", "run", "--prompt", "the", "--tokens", 3).startswith("the")
    pyformer("attend", "run", "the")
    pyformer("compare", "--task", "series", "--steps", 1, "--parameters", 2000, "--out", "compared")
    run(tmp_path, "-m", "pyformer", "info", "run", default=default)


def test_info_names_the_default_and_says_what_is_wrong_with_it(tmp_path):
    assert "devices: cpu, second:0 (PYFORMER_DEVICE: second:0)" in run(
        tmp_path, "-m", "pyformer", "info", default="second"
    )
    wrong = run(tmp_path, "-m", "pyformer", "info", default="gpu")
    assert "devices: cpu (PYFORMER_DEVICE: device: expected 'cpu' or 'cuda', got 'gpu')" in wrong
