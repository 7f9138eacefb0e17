"""fuzz_bits.py notices a difference planted in an op, makes the call small and prints a program that shows it."""

from __future__ import annotations

import contextlib
import io

import fuzz_bits
import pytest
from fuzz_calls import UNARY
from fuzz_draw import Draw

import pyformer as pf
from pyformer import _core


def changed(x):
    """Other bits; zeros stay as they are."""
    return x * (1.0 + 2.0**-20)


def with_seven_threads(op):
    return lambda *args, **options: changed(op(*args, **options)) if pf.get_num_threads() == 7 else op(*args, **options)


def with_the_widest_set(op):
    widest = _core.supported_isas()[-1]
    return lambda *args, **options: changed(op(*args, **options)) if _core.isa() == widest else op(*args, **options)


def in_a_float_mode(op, tiny=2.0**-80):
    def run(*args, **options):
        rounded_up_or_flushed = 1.0 + tiny != 1.0 or tiny * 2.0**-990 == 0.0
        return changed(op(*args, **options)) if rounded_up_or_flushed else op(*args, **options)

    return run


def in_a_batch(op):
    return lambda x, *args, **options: changed(op(x, *args, **options)) if x.shape[0] > 1 else op(x, *args, **options)


def times_one(op):
    return lambda *args, **options: changed(op(*args, **options))


def reads_all_of_x(op):
    return lambda x, **options: op(x, **options) + pf.ops.sum(x) * 0.0


def reads_all_keys(op):
    return lambda q, k, v, **options: op(q, k, v, **options) + pf.ops.sum(k) * 0.0


RELU, CUMSUM = {"op": UNARY.index("relu")}, {"op": 2}
PLANTED = [  # recipe, its choices, the op that is changed, how, what notices
    ("unary", RELU, "relu", with_seven_threads, "settings"),
    ("unary", RELU, "relu", with_the_widest_set, "settings"),
    *([("unary", RELU, "relu", in_a_float_mode, "settings")] if fuzz_bits.LIBM else []),
    ("unary", RELU, "relu", in_a_batch, "alone"),
    ("unary", RELU, "relu", reads_all_of_x, "planted"),
    ("along_axis", CUMSUM, "cumsum", reads_all_of_x, "later planted"),
    ("attention", {"key_lengths": 1}, "attention", reads_all_keys, "unseen planted"),
    ("attention_packed", {"dtype": 0}, "attention", times_one, "another call"),
]


@pytest.mark.parametrize(
    ("recipe", "fixed", "op", "how", "what"), PLANTED, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_planted_difference_is_found_and_made_small(recipe, fixed, op, how, what, monkeypatch):
    assert not any(fuzz_bits.look(recipe, seed, fixed)[0] for seed in range(20))
    monkeypatch.setattr(pf.ops, op, how(getattr(pf.ops, op)))
    found = (fuzz_bits.look(recipe, seed, fixed, what)[0] for seed in range(500))
    finding = fuzz_bits.smallest(next(f for f in found if f))
    assert finding.pair.what == what
    assert sum(array.size for array in finding.pair.one.call.arrays.values()) <= 24
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(fuzz_bits.program(finding), {})
    lines = printed.getvalue().splitlines()
    assert lines[: len(lines) // 2] != lines[len(lines) // 2 :]


def test_a_finding_ends_the_run_and_its_trial_finds_it_again(capsys, monkeypatch):
    for op in UNARY:
        monkeypatch.setattr(pf.ops, op, in_a_batch(getattr(pf.ops, op)))
    assert fuzz_bits.fuzz(60.0, 1, ["unary"]) == 1
    trial = int(capsys.readouterr().out.split("--seed 1 --trial ")[1].split()[0])
    assert fuzz_bits.fuzz(60.0, 1, ["unary"], trial) == 1
    assert fuzz_bits.fuzz(60.0, 1, ["move"], trial) == 0


@pytest.mark.parametrize("recipe", fuzz_bits.RECIPES)
def test_calls_are_valid(recipe):
    for seed in range(6):
        run = fuzz_bits.Run(fuzz_bits.RECIPES[recipe](Draw(seed)), fuzz_bits.Settings(_core.supported_isas()[:2][-1]))
        assert "raised" not in run.results, (seed, run.results)
