"""The steps of CONTRIBUTING's worked example fit this checkout. The gate builds it, too: worked_example.py."""

from __future__ import annotations

from worked_example import copy_of_checkout, steps


def test_the_steps_fit_this_checkout(tmp_path):
    checkout = copy_of_checkout(tmp_path / "checkout")
    todo = steps()
    assert len(todo) > 10
    for step in todo:
        step.apply(checkout)
