"""Training in float16 on the emulated device: gradients that overflow, steps that are left out, and small gradients."""

from __future__ import annotations

import cuda_device
import numpy as np
import pytest
from cuda_queued import DEVICE, trainer, waits
from test_grad_scaler import overflowing

import pyformer as pf


@pytest.fixture(autouse=True, scope="module")
def _device():
    cuda_device.library()
    cuda_device.schedule("drawn,late,seed=7")
    yield
    cuda_device.schedule("lowest,early")


def scaled_steps(device, optimizer_of, clip=None):
    """Two parameters, of which gradients overflow now and then."""
    w = pf.tensor([1.0, -2.0], device=device, requires_grad=True)
    optimizer, scaler = optimizer_of([w]), pf.optim.GradScaler(init_scale=16.0, growth_interval=3)
    before, scales = None, []
    for i in range(10):
        if i == 1:
            before = waits()
        factor = pf.tensor(np.inf if i in (2, 3, 8) else 1.0, device=device, dtype=pf.float32)
        optimizer.zero_grad()
        scaler.scale((w.square() * factor).sum()).backward()
        if clip:
            scaler.unscale_(optimizer)
            pf.optim.clip_grad_norm_([w], clip)
        scaler.step(optimizer)
        scaler.update()
        scales.append(scaler._scale + 0)
    assert device == "cpu" or waits() == before or optimizer_of is pf.optim.RMSprop
    return [s.item() for s in scales], w.detach().to("cpu").numpy(), optimizer.state_dict()["state"][0]["step"]


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("name", ["AdamW", "SGD", "RMSprop"])
def test_loss_scaling_on_a_device_is_that_on_the_cpu(name, clip):
    make = getattr(pf.optim, name)
    (scales, expected, count), (there, found, counted) = (
        scaled_steps(device, make, clip) for device in ("cpu", DEVICE)
    )
    assert scales == there
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert count == counted == 7


@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_a_step_that_was_left_out_is_one_of_those_who_counted_it(name):
    def run(device):
        w, v = (pf.tensor([x], device=device, requires_grad=True) for x in (1.0, 2.0))
        optimizer, scaler = getattr(pf.optim, name)([w, v], lr=0.1), pf.optim.GradScaler(init_scale=16.0)
        for i in range(8):
            optimizer.zero_grad()
            loss = w.square() * pf.tensor(np.inf if i in (2, 5) else 1.0, dtype=pf.float32, device=device)
            if i in (1, 3, 5):  # v has no gradient in the others
                loss = loss + v.square()
            if i == 6:
                loss.sum().backward()
                optimizer.step()
                continue
            scaler.scale(loss.sum()).backward()
            scaler.step(optimizer)
            scaler.update()
        steps = [state["step"] for state in optimizer.state_dict()["state"].values()]
        return [w.detach().item(), v.detach().item()], steps

    (expected, counts), (found, counted) = run("cpu"), run(DEVICE)
    assert counts == counted == [6, 2]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_scaled_step_in_a_graph():
    def run(graphed):
        w = pf.tensor([1.0, -2.0], device=DEVICE, requires_grad=True)
        optimizer, scaler = pf.optim.AdamW([w], lr=0.1), pf.optim.GradScaler(init_scale=16.0, growth_interval=3)

        def step(factor):
            optimizer.zero_grad()
            scaler.scale((w.square() * factor).sum()).backward()
            scaler.step(optimizer)
            scaler.update()

        step(pf.tensor(1.0, device=DEVICE))
        if graphed:
            step = pf.cuda.Graph(step, pf.tensor(1.0), device=DEVICE)
        counts = []
        for i in range(8):
            step(pf.tensor(np.inf if i in (2, 3, 5) else 1.0, dtype=pf.float32, device=DEVICE))
            if i % 2:
                counts.append(optimizer.state_dict()["state"][0]["step"])
        assert counts == [3, 3, 4, 6]
        return w.detach().tolist(), scaler.state_dict()

    assert run(True) == run(False)


@pytest.mark.parametrize("device", ["cpu", DEVICE])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_small_gradients_of_linear_cross_entropy_survive_in_float16(reduction, device):
    """Of classes whose probability is 6e-9, which float16 does not hold."""
    bias, targets = [0.0, 0.5, -18.0, -18.0], [0, 1, -100]

    def gradients(dtype, scale):
        x, w, b = (
            pf.tensor(pf.tensor(a).to(dtype), device=device, requires_grad=True)
            for a in ([[1.0, 0.0]] * 3, [[0.0, 0.0], [0.0, 0.0], [0.0, 64.0], [0.0, 32.0]], bias)
        )
        loss = pf.ops.linear_cross_entropy(x, w, pf.tensor(targets, device=device), b, reduction=reduction)
        loss.backward(pf.full((), scale, dtype=dtype, device=device))
        return [t.grad.to("cpu").to(pf.float64).numpy() / scale for t in (x, w, b)]

    for got, expected in zip(gradients("float16", 32768.0), gradients("float32", 1.0), strict=True):
        np.testing.assert_allclose(got, expected, rtol=2e-3)


def test_gradients_that_are_never_finite_are_told_at_the_next_line():
    own = overflowing(trainer(DEVICE, "float16", steps=40, log_every=8))
    with pytest.raises(FloatingPointError, match="gradients of 24 steps in a row are not finite at step 24"):
        own.train()


def test_float16_trains_on_a_device():
    losses = []
    for device in ("cpu", DEVICE):
        own = trainer(device, "float16", steps=6)
        own.train()
        assert all(p.dtype == pf.float16 for p in own.model.parameters())
        losses.append(own.validation_loss)
    assert losses[0] == pytest.approx(losses[1], rel=5e-3)
