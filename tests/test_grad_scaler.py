"""Loss scaling beside torch's, and float16 training that stops and goes on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import pyformer as pf
from pyformer.training import TrainingOptions

OVERFLOWS = (2, 3, 8)
SETTINGS = {"init_scale": 16.0, "growth_factor": 4.0, "backoff_factor": 0.25, "growth_interval": 3}


def steps(library, scaler, optimizer, w, number):
    """The factor after each of ten steps, and the parameter."""
    scales = []
    for i in range(10):
        optimizer.zero_grad()
        scaler.scale((w * w * number(math.inf if i in OVERFLOWS else 1.0)).sum()).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        scales.append(scaler.get_scale())
    return scales, w.detach().numpy().copy(), scaler.state_dict()


def test_factors_and_steps_are_torchs():
    start = [1.0, -2.0]
    w, theirs = pf.tensor(start, requires_grad=True), torch.tensor(start, requires_grad=True)
    found = steps(pf, pf.optim.GradScaler(**SETTINGS), pf.optim.AdamW([w], lr=0.1), w, float)
    other = torch.amp.GradScaler("cpu", **SETTINGS)
    expected = steps(torch, other, torch.optim.AdamW([theirs], lr=0.1), theirs, float)
    assert found[0] == expected[0]
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-6)
    assert found[2] == expected[2]


def test_defaults_are_torchs():
    assert pf.optim.GradScaler().state_dict() == torch.amp.GradScaler("cpu").state_dict()


def test_a_factor_is_no_larger_than_the_losses_dtype_holds():
    for dtype, largest in (("float16", 2.0**15), ("float32", 2.0**19)):
        w = pf.tensor([1.0], dtype=dtype, requires_grad=True)
        optimizer, scaler = pf.optim.SGD([w], lr=0.125), pf.optim.GradScaler(growth_interval=1)
        for _ in range(3):
            optimizer.zero_grad()
            scaler.scale(w.sum()).backward()
            scaler.step(optimizer)
            scaler.update()
        assert scaler.get_scale() == largest
        assert w.tolist() == [0.625]  # each step was taken


def test_a_state_is_taken_over_or_refused():
    scaler = pf.optim.GradScaler()
    state = {**pf.optim.GradScaler(**SETTINGS).state_dict(), "_growth_tracker": 2}
    scaler.load_state_dict(state)
    assert scaler.state_dict() == state
    for wrong in ({}, {**state, "scale": 0.0}, {**state, "growth_factor": 1.0}, {**state, "backoff_factor": 1.0}):
        with pytest.raises(ValueError, match="GradScaler"):
            scaler.load_state_dict(wrong)


def test_unscaling_twice_is_refused():
    w = pf.ones(2, requires_grad=True)
    optimizer, scaler = pf.optim.SGD([w], lr=0.1), pf.optim.GradScaler()
    scaler.scale(w.sum()).backward()
    scaler.unscale_(optimizer)
    assert w.grad.tolist() == [1.0, 1.0]
    with pytest.raises(RuntimeError, match="unscaled already"):
        scaler.unscale_(optimizer)


def test_a_second_step_without_update_is_refused():
    p = pf.ones(2, requires_grad=True)
    optimizer, scaler = pf.optim.SGD([p], lr=1.0), pf.optim.GradScaler(4.0)
    scaler.scale((p * 3.0).sum()).backward()
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match=r"has made its step already; update\(\) ends a step"):
        scaler.step(optimizer)
    assert p.tolist() == [-2.0, -2.0]
    scaler.update()
    scaler.step(optimizer)


def test_small_gradients_survive_in_float16():
    found = []
    for scaler in (None, pf.optim.GradScaler(init_scale=1024.0)):
        w = pf.tensor([1.0], dtype=pf.float16, requires_grad=True)
        loss = (w * 1e-3) * 1e-5
        (loss.to(pf.float32) if scaler is None else scaler.scale(loss)).sum().backward()
        if scaler:
            scaler.unscale_(pf.optim.SGD([w], lr=1.0))
        found.append(w.grad.item())
    assert found[0] == 0.0
    assert found[1] == pytest.approx(1e-8, rel=0.02)


def trainer(run, **options):
    pf.manual_seed(1)
    model = pf.models.GPT(pf.models.GPTConfig(11, 8, 1, 2, 16))
    tokens = np.arange(300) % 11
    chosen = TrainingOptions(
        **{"steps": 12, "batch": 4, "warmup": 1, "lr": 1e-2, "dtype": "float16", "save_every": 5, **options}
    )
    return pf.training.Trainer(model, tokens[:200], tokens[200:], chosen, run=run)


def overflowing(own):
    """A trainer whose gradients are NaN, and its loss is not."""
    loss_of = own._loss
    own._loss = lambda number: loss_of(number) + own.model.wte.weight[0, 0] * 0.0 * 60000.0 * 60000.0
    return own


def test_float16_trains_and_goes_on(tmp_path):
    whole = trainer(tmp_path / "whole")
    before = whole.evaluate()
    assert whole.train()
    assert whole.validation_loss < before
    assert whole.scaler.state_dict()["scale"] == 2.0**15
    assert whole.scaler.state_dict()["_growth_tracker"] == 12  # no step was left out
    assert {p.dtype for p in whole.model.parameters()} == {pf.float16}

    class Stop(pf.training.Callback):
        def on_step(self, trainer, loss):
            if trainer.step == 3:
                del trainer._loss  # the class's own is finite
            if trainer.step == 7:
                trainer.request_stop()

    first = overflowing(trainer(tmp_path / "parts"))
    first.callbacks = [Stop()]
    assert not first.train()
    assert first.scaler.get_scale() == 2.0**12  # three steps were left out
    second = trainer(tmp_path / "parts")
    second.restore()
    assert second.scaler.state_dict() == first.scaler.state_dict()
    assert second.train()


def test_gradients_that_are_never_finite_are_an_error(caplog):
    own = overflowing(trainer(None, steps=30))
    before = own.model.wte.weight.numpy().copy()
    with pytest.raises(FloatingPointError, match="gradients of 20 steps in a row are not finite at step 20"):
        own.train()
    assert (own.model.wte.weight.numpy() == before).all()
    assert overflowing(trainer(None, steps=5)).train()
    assert "no step was taken: the gradients of all 5 are not finite" in caplog.text


def test_overflows_leave_the_weights_alone():
    own = overflowing(trainer(None, steps=1))
    before = {key: value.numpy().copy() for key, value in own.model.state_dict().items()}
    assert own.train()
    assert own.scaler.get_scale() == 2.0**14
    assert all((value.numpy() == before[key]).all() for key, value in own.model.state_dict().items())


@pytest.mark.parametrize("wrong", [None, "3", -1, True, 1.5])
def test_a_state_that_is_refused_leaves_the_factor(wrong):
    scaler = pf.optim.GradScaler()
    with pytest.raises(ValueError, match="_growth_tracker must be an int"):
        scaler.load_state_dict({**scaler.state_dict(), "scale": 4.0, "_growth_tracker": wrong})
    assert scaler.get_scale() == 65536.0
