"""Optimisers against torch's for ten steps, exact resume, clipping and schedules."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tolerance import assert_close, by_rows

import pyformer as pf
from pyformer import formats, optim

SHAPES = [(7, 5), (5,), (3, 1, 4), (33,)]
STEPS = 10

KINDS = {
    "adamw": (optim.AdamW, torch.optim.AdamW, {"lr": 0.01}),
    "adamw_plain": (optim.AdamW, torch.optim.AdamW, {"lr": 0.1, "weight_decay": 0.0}),
    "adamw_odd": (
        optim.AdamW,
        torch.optim.AdamW,
        {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.3},
    ),
    "sgd": (optim.SGD, torch.optim.SGD, {"lr": 0.1}),
    "sgd_decay": (optim.SGD, torch.optim.SGD, {"lr": 0.1, "weight_decay": 0.2}),
    "sgd_momentum": (optim.SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "sgd_nesterov": (
        optim.SGD,
        torch.optim.SGD,
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    ),
}


def parameters(dtype):
    rng = np.random.default_rng(0)
    return [pf.tensor(rng.standard_normal(s).astype(dtype), requires_grad=True) for s in SHAPES]


def gradients(step, dtype):
    rng = np.random.default_rng(100 + step)
    return [rng.standard_normal(s).astype(dtype) for s in SHAPES]


def advance(params, optimizer, steps, dtype="float32"):
    for step in steps:
        for p, g in zip(params, gradients(step, dtype), strict=True):
            p.grad = pf.tensor(g)
        optimizer.step()


def values(params):
    return [p.numpy().copy() for p in params]


def assert_same(ones, others):
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_ten_steps_equal_torch(kind, dtype):
    make, make_torch, options = KINDS[kind]
    params = parameters(dtype)
    twins = [torch.tensor(p.numpy().copy(), requires_grad=True) for p in params]
    optimizer, twin = make(params, **options), make_torch(twins, **options)
    for step in range(STEPS):
        advance(params, optimizer, [step], dtype)
        for t, g in zip(twins, gradients(step, dtype), strict=True):
            t.grad = torch.tensor(g)
        twin.step()
        for p, t in zip(params, twins, strict=True):
            assert_close(p.numpy(), by_rows(t.detach().numpy()), f"step {step}", additions=STEPS)


def test_parameter_without_gradient_is_left_alone():
    params = parameters("float32")
    twins = [torch.tensor(p.numpy().copy(), requires_grad=True) for p in params]
    optimizer, twin = optim.AdamW(params), torch.optim.AdamW(twins)
    for step in range(4):
        for i, g in enumerate(gradients(step, "float32")):
            used = i != 1 or step % 2
            params[i].grad = pf.tensor(g) if used else None
            twins[i].grad = torch.tensor(g) if used else None
        optimizer.step()
        twin.step()
    for p, t in zip(params, twins, strict=True):
        assert_close(p.numpy(), by_rows(t.detach().numpy()), additions=4)
    assert [s["step"] for s in optimizer.state_dict()["state"].values()] == [4, 4, 4, 2]


def test_groups_have_options_of_their_own():
    params = parameters("float32")
    before = values(params)
    groups = [{"params": params[:2], "lr": 0.0}, {"params": params[2:]}]
    optimizer = optim.AdamW(groups, lr=0.1, weight_decay=0.0)
    advance(params, optimizer, [0])
    assert_same(values(params[:2]), before[:2])
    assert not np.array_equal(params[3].numpy(), before[3])
    optimizer.scale_lr(0.5)
    assert [g["lr"] for g in optimizer.param_groups] == [0.0, 0.05]


@pytest.mark.parametrize("kind", ["adamw", "sgd_nesterov"])
@pytest.mark.parametrize("through_file", [False, True])
def test_resume_is_exact(kind, through_file, tmp_path):
    make, _, options = KINDS[kind]
    straight = parameters("float32")
    optimizer = make(straight, **options)
    advance(straight, optimizer, range(5))
    optimizer.scale_lr(0.5)
    state = optimizer.state_dict()
    if through_file:
        formats.save_state(tmp_path / "optimizer", state)
        state = formats.load_state(tmp_path / "optimizer")
    stopped = [pf.tensor(v, requires_grad=True) for v in values(straight)]
    resumed = make(stopped, **{**options, "lr": 0.5})
    resumed.load_state_dict(state)
    advance(straight, optimizer, range(5, 10))
    advance(stopped, resumed, range(5, 10))
    assert_same(values(straight), values(stopped))
    assert resumed.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]


def test_load_state_dict_refuses_what_does_not_fit():
    params = parameters("float32")
    optimizer = optim.AdamW(params)
    advance(params, optimizer, [0])
    state = optimizer.state_dict()
    with pytest.raises(ValueError, match="sizes"):
        optim.AdamW(params[:2]).load_state_dict(state)
    with pytest.raises(ValueError, match="must hold"):
        optim.SGD(params, momentum=0.5).load_state_dict(state)
    with pytest.raises(ValueError, match="exp_avg of parameter 0"):
        optim.AdamW(params[::-1]).load_state_dict(state)


def changed(state, index, **values):
    return {**state, "state": {**state["state"], index: {**state["state"][index], **values}}}


def with_option(**values):
    return lambda s: {**s, "param_groups": [{**s["param_groups"][0], **values}]}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (with_option(lr=math.nan), ValueError, "lr must be in"),
        (with_option(lr=-1.0), ValueError, "lr must be in"),
        (with_option(lr="1"), TypeError, "lr must be a number"),
        (with_option(base_lr=math.nan), ValueError, "base_lr must be in"),
        (with_option(eps=None), TypeError, "eps must be a number"),
        (with_option(betas=(0.9,)), ValueError, "betas must be two"),
        (with_option(betas=0.9), TypeError, "betas must be a pair"),
        (with_option(betas=[0.9, 1.0]), ValueError, "betas must be in"),
        (with_option(params=3), TypeError, "params must be a list"),
        (lambda s: changed(s, 1, step=-1), ValueError, "step of parameter 1 must be in"),
        (lambda s: changed(s, 1, step=math.nan), TypeError, "step of parameter 1 must be an int"),
        (lambda s: changed(s, 1, step=True), TypeError, "step of parameter 1 must be an int"),
        (lambda s: changed(s, 1, step=2**70), ValueError, "step of parameter 1 must be in"),
        (lambda s: changed(s, 2, exp_avg=pf.zeros(7)), ValueError, "exp_avg of parameter 2 must be"),
        (lambda s: changed(s, 2, exp_avg=[1.0]), TypeError, "exp_avg of parameter 2 must be a Tensor"),
        (lambda s: changed(s, 2, speed=1), ValueError, "parameter 2 must hold"),
        (lambda s: {**s, "state": {**s["state"], 0: 5}}, TypeError, "parameter 0 must be a dict"),
        (lambda s: {**s, "state": {"x": {}}}, ValueError, "parameter 'x'"),
        (lambda s: {**s, "state": {4: {}}}, ValueError, "parameter 4"),
        (lambda s: {"state": s["state"]}, ValueError, "param_groups"),
        (lambda s: {"param_groups": s["param_groups"]}, ValueError, "'state'"),
        (lambda s: {**s, "state": [1]}, TypeError, "state must be"),
        (lambda s: None, ValueError, "state dict"),
    ],
)
def test_bad_states_are_refused_and_change_nothing(change, error, message):
    params = parameters("float32")
    optimizer = optim.AdamW(params, lr=0.01)
    advance(params, optimizer, [0])
    bad = change(optim.AdamW.state_dict(optimizer))
    before = {k: dict(v) for k, v in optimizer.state.items()}
    groups = [dict(g) for g in optimizer.param_groups]
    with pytest.raises(error, match=f"AdamW.*{message}"):
        optimizer.load_state_dict(bad)
    assert optimizer.state == before
    assert optimizer.param_groups == groups


def test_momentum_can_be_set_later():
    params, others = parameters("float32"), parameters("float32")
    optimizer, twin = optim.SGD(params, lr=0.1), optim.SGD(others, lr=0.1, momentum=0.9)
    optimizer.param_groups[0]["momentum"] = 0.9
    advance(params, optimizer, range(3))
    advance(others, twin, range(3))
    assert_same(values(params), values(others))
    late = optim.SGD(params, lr=0.1)
    advance(params, late, [3])
    late.param_groups[0]["momentum"] = 0.5
    resumed = optim.SGD(params, lr=0.1)
    resumed.load_state_dict(late.state_dict())
    advance(params, resumed, [4])
    assert resumed.param_groups[0]["momentum"] == 0.5
    assert [s["step"] for s in resumed.state.values()] == [2] * 4


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda p: optim.AdamW([]), ValueError),
        (lambda p: optim.AdamW([np.zeros(3)]), TypeError),
        (lambda p: optim.AdamW([{"params": [p]}, {"params": [p]}]), ValueError),
        (lambda p: optim.AdamW([p], lr=-1.0), ValueError),
        (lambda p: optim.AdamW([p], lr=math.nan), ValueError),
        (lambda p: optim.AdamW([p], betas=(0.9, 1.0)), ValueError),
        (lambda p: optim.AdamW([{"params": [p], "speed": 1}]), ValueError),
        (lambda p: optim.AdamW([{"lr": 1.0}]), TypeError),
        (lambda p: optim.AdamW([{"params": [p]}, p]), TypeError),
        (lambda p: optim.SGD([p], nesterov=True), ValueError),
        (lambda p: optim.clip_grad_norm_([p], 0.0), ValueError),
        (lambda p: optim.clip_grad_norm_([p], None), TypeError),
        (lambda p: optim.clip_grad_norm_([p], math.nan), ValueError),
        (lambda p: optim.clip_grad_norm_([p], -(10**400)), ValueError),
        (lambda p: optim.clip_grad_norm_([p], "1.0"), TypeError),
        (lambda p: optim.clip_grad_norm_([p], np.ones(2)), TypeError),
        (lambda p: optim.clip_grad_norm_([p], pf.ones(2)), TypeError),
        (lambda p: optim.clip_grad_norm_([1.0], 1.0), TypeError),
        (lambda p: optim.clip_grad_norm_(None, 1.0), TypeError),
    ],
)
def test_bad_arguments(make, error):
    with pytest.raises(error):
        make(pf.tensor([1.0], requires_grad=True))


@pytest.mark.parametrize("max_norm", [0.5, 1000.0])
def test_clip_grad_norm(max_norm):
    params = parameters("float32")
    for p, g in zip(params, gradients(0, "float32"), strict=True):
        p.grad = pf.tensor(g)
    params.append(pf.tensor([1.0], requires_grad=True))
    twins = [torch.zeros(s, requires_grad=True) for s in SHAPES]
    for t, g in zip(twins, gradients(0, "float32"), strict=True):
        t.grad = torch.tensor(g)
    norm = optim.clip_grad_norm_(params, max_norm).item()
    expected = float(torch.nn.utils.clip_grad_norm_(twins, max_norm))
    assert norm == pytest.approx(expected, rel=1e-6)
    for p, t in zip(params, twins, strict=False):
        assert_close(p.grad.numpy(), by_rows(t.grad.numpy()), additions=1)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("max_norm", [np.float32(1), np.float16(1), np.int8(1), 1, 10**400, math.inf])
def test_clip_takes_any_number(max_norm):
    p = pf.tensor([1.0, 2.0], requires_grad=True)
    p.grad = pf.tensor([0.6, 0.8])
    assert optim.clip_grad_norm_([p], max_norm).item() == pytest.approx(1.0)
    np.testing.assert_array_equal(p.grad.numpy(), np.float32([0.6, 0.8]))


def test_clip_leaves_gradients_that_are_not_finite():
    p = pf.tensor([1.0, 2.0], requires_grad=True)
    p.grad = pf.tensor([math.inf, 1.0])
    assert optim.clip_grad_norm_([p], 1.0).item() == math.inf
    np.testing.assert_array_equal(p.grad.numpy(), [math.inf, 1.0])


def test_schedules():
    cosine = optim.CosineSchedule(total_steps=100, warmup_steps=10, final=0.1)
    assert [cosine(0), cosine(9), cosine(10)] == [0.1, 1.0, 1.0]
    assert cosine(55) == pytest.approx(0.55)
    assert cosine(100) == cosine(1000) == pytest.approx(0.1)
    linear = optim.LinearSchedule(total_steps=10)
    assert [linear(0), linear(5), linear(10), linear(20)] == [1.0, 0.5, 0.0, 0.0]
    constant = optim.ConstantSchedule(warmup_steps=4)
    assert [constant(s) for s in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert linear(np.int64(5)) == linear(5.0) == 0.5


@pytest.mark.parametrize("schedule", [optim.ConstantSchedule(), optim.LinearSchedule(10), optim.CosineSchedule(10, 3)])
def test_a_step_that_is_no_number_of_a_step_is_refused(schedule):
    name = type(schedule).__name__
    for step in (math.nan, math.inf, -1, -0.5, np.float32(np.nan)):
        with pytest.raises(ValueError, match=f"^{name}: step must be at least 0 and finite, got"):
            schedule(step)
    for step in ("1", None, True, np.zeros(2)):
        with pytest.raises(TypeError, match=f"^{name}: step must be a number, got"):
            schedule(step)


@pytest.mark.parametrize("dtype", [pf.bfloat16, pf.float16], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_16_bit_parameters_have_float32_masters(kind, dtype):
    """The masters take the float32 parameters' course, bit for bit, and each step rounds them into the parameters."""
    make, _, options = KINDS[kind]
    params = [pf.tensor(p.detach().to(dtype), requires_grad=True) for p in parameters("float32")]
    twins = [pf.tensor(p.detach().to(pf.float32), requires_grad=True) for p in params]
    optimizer, other = make(params, **options), make(twins, **options)
    for step in range(STEPS):
        advance(params, optimizer, [step])
        advance(twins, other, [step])
        assert_same(
            values([p.detach().to(pf.float32) for p in params]),
            values([t.detach().to(dtype).to(pf.float32) for t in twins]),
        )
    assert_same(values([optimizer.state[p]["master"] for p in params]), values(twins))


@pytest.mark.parametrize("kind", ["adamw", "sgd", "sgd_momentum"])
def test_masters_are_saved_and_resumed(kind, tmp_path):
    make, _, options = KINDS[kind]
    starts = [p.detach().to(pf.bfloat16) for p in parameters("float32")]
    whole, first = ([pf.tensor(p, requires_grad=True) for p in starts] for _ in range(2))
    advance(whole, make(whole, **options), range(STEPS))
    optimizer = make(first, **options)
    advance(first, optimizer, range(4))
    resumed = [pf.tensor(p.detach(), requires_grad=True) for p in first]
    other = make(resumed, **options)
    other.load_state_dict(optimizer.state_dict())
    advance(resumed, other, range(4, STEPS))
    assert_same(
        values([p.detach().to(pf.float32) for p in resumed]), values([p.detach().to(pf.float32) for p in whole])
    )
    state = optimizer.state_dict()
    del state["state"][0]["master"]
    with pytest.raises(ValueError, match="state of parameter 0 must hold"):
        make(resumed, **options).load_state_dict(state)


@pytest.mark.parametrize("factor", [-1.0, float("nan"), float("inf")])
def test_a_learning_rate_is_not_scaled_by_what_makes_none(factor):
    optimizer = pf.optim.SGD([pf.nn.Parameter([1.0])], lr=0.1)
    with pytest.raises(ValueError, match="factor must be a number from 0"):
        optimizer.scale_lr(factor)
    assert optimizer.param_groups[0]["lr"] == 0.1
