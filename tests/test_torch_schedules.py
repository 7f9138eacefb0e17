"""Schedules of learning rates give the rates that torch's give, also after a resume."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pyformer as pf

SCHEDULES = [
    ("LambdaLR", {"lr_lambda": lambda n: 1 / (n + 1)}, 10),
    ("StepLR", {"step_size": 3, "gamma": 0.5}, 20),
    ("StepLR", {"step_size": 1, "gamma": 0.0}, 5),
    ("MultiStepLR", {"milestones": [2, 5, 5]}, 10),
    ("MultiStepLR", {"milestones": [0, 3]}, 6),
    ("ExponentialLR", {"gamma": 0.9}, 30),
    ("ExponentialLR", {"gamma": 1.1}, 30),
    ("LinearLR", {}, 9),
    ("LinearLR", {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 4}, 9),
    ("CosineAnnealingLR", {"T_max": 7}, 40),
    ("CosineAnnealingLR", {"T_max": 1}, 10),
    ("CosineAnnealingLR", {"T_max": 5, "eta_min": 0.9}, 20),
    ("CosineAnnealingWarmRestarts", {"T_0": 3}, 30),
    ("CosineAnnealingWarmRestarts", {"T_0": 1}, 10),
    ("CosineAnnealingWarmRestarts", {"T_0": 2, "T_mult": 2, "eta_min": 0.1}, 8),
    ("CosineAnnealingWarmRestarts", {"T_0": 2, "T_mult": 3}, 60),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 7}, 7),
    ("OneCycleLR", {"max_lr": 0.3, "epochs": 2, "steps_per_epoch": 5, "pct_start": 0.5}, 10),
    ("OneCycleLR", {"max_lr": 0.7, "total_steps": 10, "pct_start": 0.95}, 10),
    ("OneCycleLR", {"max_lr": 0.7, "total_steps": 10, "pct_start": 0.0, "div_factor": 10, "final_div_factor": 100}, 10),
    ("OneCycleLR", {"max_lr": 0.7, "total_steps": 9, "cycle_momentum": False}, 9),
    ("OneCycleLR", {"max_lr": 0.7, "total_steps": 1, "base_momentum": 0.5, "max_momentum": 0.8}, 1),
]


def rates_of(library, name, options, steps, optimiser, resumed_at=None):
    """Learning rate and momentum of two groups in each step of a full loop."""

    def make():
        extra = {"momentum": 0.9} if optimiser == "SGD" else {}
        optimizer = getattr(library.optim, optimiser)([library.ones(1, requires_grad=True)], lr=0.5, **extra)
        optimizer.add_param_group({"params": [library.ones(1, requires_grad=True)], "lr": 0.2})
        return optimizer, getattr(library.optim.lr_scheduler, name)(optimizer, **options)

    optimizer, scheduler = make()
    seen = []
    for n in range(steps):
        if n == resumed_at:
            states = optimizer.state_dict(), scheduler.state_dict()
            optimizer, scheduler = make()
            optimizer.load_state_dict(states[0])
            scheduler.load_state_dict(states[1])
        for group in optimizer.param_groups:
            seen.append([group["lr"], group.get("momentum", group.get("betas", (0,))[0])])
        optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize(("name", "options", "steps"), SCHEDULES)
@pytest.mark.parametrize("optimiser", ["AdamW", "SGD"])
def test_schedules_are_torchs(name, options, steps, optimiser):
    theirs = rates_of(torch, name, options, steps, optimiser)
    for resumed_at in (None, 4):
        ours = rates_of(pf, name, options, steps, optimiser, resumed_at)
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("pct_start", [0.0, 0.1, 0.3, 0.95, 1.0])
def test_a_cycle_keeps_its_last_rate_and_has_no_more_steps(pct_start):
    optimizer = pf.optim.SGD([pf.ones(1, requires_grad=True)], lr=0.5)
    scheduler = pf.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.7, total_steps=10, pct_start=pct_start)
    for _ in range(9):
        scheduler.step()
    last = scheduler.get_last_lr()
    assert last == [pytest.approx(0.7 if pct_start == 1.0 else 0.7 / 25 / 1e4)]
    scheduler.step()
    assert scheduler.get_last_lr() == last
    with pytest.raises(ValueError, match="OneCycleLR: its cycle has 10 steps, got one more"):
        scheduler.step()


def test_a_cycle_of_which_one_step_goes_up_starts_at_the_top():
    optimizer = pf.optim.SGD([pf.ones(1, requires_grad=True)], lr=0.5, momentum=0.9)
    scheduler = pf.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.7, total_steps=10, pct_start=0.1)
    assert scheduler.get_last_lr() == [0.7]
    assert optimizer.param_groups[0]["momentum"] == 0.85


def test_momentum_that_is_not_there_has_no_cycle():
    for library in (pf, torch):
        optimizer = library.optim.Adagrad([library.ones(1, requires_grad=True)], lr=0.5)
        with pytest.raises(ValueError, match="momentum"):
            library.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.7, total_steps=10)
        library.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.7, total_steps=10, cycle_momentum=False)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.028)


def test_warm_restarts_far_on_are_found_at_once():
    optimizer = pf.optim.SGD([pf.ones(1, requires_grad=True)], lr=1.0)
    scheduler = pf.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=2)
    scheduler.load_state_dict({"last_epoch": 10**15 + 1})  # one cycle after the other would take years
    assert scheduler.get_last_lr() == [pytest.approx(0.5)]
    for T_0, error in ((0, ValueError), (2.5, TypeError)):
        with pytest.raises(error, match="CosineAnnealingWarmRestarts: T_0 must be"):
            pf.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0)


def test_one_schedule_after_the_other():
    rates = []
    for library in (pf, torch):
        optimizer = library.optim.SGD([library.ones(1, requires_grad=True)], lr=1.0)
        parts = library.optim.lr_scheduler
        schedulers = [parts.LinearLR(optimizer, 0.1, total_iters=2), parts.CosineAnnealingLR(optimizer, 4)]
        scheduler = parts.SequentialLR(optimizer, schedulers, milestones=[2])
        seen = []
        for _ in range(6):
            seen.append(scheduler.get_last_lr()[0])
            optimizer.step()
            scheduler.step()
        rates.append(seen)
    np.testing.assert_allclose(*rates, rtol=1e-6)
    again = pf.optim.SGD([pf.ones(1, requires_grad=True)], lr=1.0)
    with pytest.raises(ValueError, match="expected rising milestones, one less than schedulers"):
        pf.optim.lr_scheduler.SequentialLR(again, [], [])


@pytest.mark.parametrize(
    ("build", "milestones"),
    [
        (lambda s, o: [s.LinearLR(o, 0.1, total_iters=3), s.CosineAnnealingLR(o, 5), s.ExponentialLR(o, 0.5)], [3, 9]),
        (lambda s, o: [s.StepLR(o, 2), s.CosineAnnealingWarmRestarts(o, 2, 2)], [4]),
        (lambda s, o: [s.MultiStepLR(o, [1, 2]), s.LambdaLR(o, lambda n: 0.9**n)], [4]),
        (lambda s, o: [s.StepLR(o, 2)], []),
    ],
)
@pytest.mark.parametrize("resumed_at", [None, 2, 6])
def test_schedules_in_a_row_are_torchs(build, milestones, resumed_at):
    rates = []
    for library in (pf, torch):

        def make(library=library):
            optimizer = library.optim.SGD([library.ones(1, requires_grad=True)], lr=0.5)
            names = library.optim.lr_scheduler
            return optimizer, names.SequentialLR(optimizer, build(names, optimizer), milestones)

        optimizer, scheduler = make()
        seen = []
        for n in range(14):
            if n == resumed_at:
                states = optimizer.state_dict(), scheduler.state_dict()
                optimizer, scheduler = make()
                optimizer.load_state_dict(states[0])
                scheduler.load_state_dict(states[1])
            seen.append(scheduler.get_last_lr()[0])
            optimizer.step()
            scheduler.step()
        rates.append(seen)
    np.testing.assert_allclose(*rates, rtol=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mode": "max"},
        {"mode": "max", "threshold": 0.5},
        {"mode": "max", "threshold": 0.5, "threshold_mode": "abs"},
        {"cooldown": 2},
        {"threshold_mode": "abs", "min_lr": 0.05},
        {"min_lr": 3.0},
        {"eps": 0.3},
        {"threshold": 0.1},
    ],
)
def test_a_rate_falls_on_a_plateau_as_in_torch(options):
    losses = [3.0, 2.0, 2.0, 2.0, 1.99999, 2.5, 1.0, 1.0, 1.0, 1.0, 1.0, 4.0, 1.0]
    rates = []
    for library in (pf, torch):
        optimizer = library.optim.SGD([library.ones(1, requires_grad=True)], lr=1.0)
        scheduler = library.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1, **options)
        seen = []
        for loss in losses:
            scheduler.step(loss)
            seen.append([optimizer.param_groups[0]["lr"], scheduler.best])
        rates.append(seen)
    assert rates[0] == rates[1]
    copy = pf.optim.lr_scheduler.ReduceLROnPlateau(pf.optim.SGD([pf.ones(1, requires_grad=True)], lr=1.0))
    copy.load_state_dict({"best": 1.0, "bad": 2, "cooling": 0, "last_epoch": 3})
    assert copy.state_dict() == {"best": 1.0, "bad": 2, "cooling": 0, "last_epoch": 3}


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_plateau_of_negative_values_is_one(mode):
    optimizer = pf.optim.SGD([pf.ones(1, requires_grad=True)], lr=1.0)
    scheduler = pf.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode, factor=0.5, patience=1, threshold=0.1)
    sign = 1.0 if mode == "min" else -1.0
    assert scheduler.best == sign * float("inf")
    for value in (-2.0, -2.0 - sign * 0.3, -2.0 - sign * 0.4, -2.0 - sign * 0.4):
        scheduler.step(value)
    assert (scheduler.best, scheduler.get_last_lr()) == (-2.0 - sign * 0.3, [0.5])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        *(({name: -1}, ValueError) for name in ("patience", "cooldown", "threshold", "min_lr", "eps")),
        ({"threshold": float("nan")}, ValueError),
        ({"patience": 1.5}, TypeError),
        ({"min_lr": [0.1]}, TypeError),
    ],
)
def test_what_is_no_option_of_a_plateau_is_refused(options, error):
    optimizer = pf.optim.SGD([pf.ones(1, requires_grad=True)], lr=1.0)
    with pytest.raises(error, match=f"ReduceLROnPlateau: {next(iter(options))} must be"):
        pf.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options)
