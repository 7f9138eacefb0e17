"""nn.init: distributions, fans, what skipping and outlines do."""

from __future__ import annotations

import math
import resource
import sys

import numpy as np
import pytest

import pyformer as pf
from pyformer import nn
from pyformer.models import GPT, GPTConfig, Llama, LlamaConfig

SHAPE = (60, 40, 3)
FAN_IN, FAN_OUT = 120, 180


def values(fill, *args, shape=SHAPE, **options):
    pf.manual_seed(0)
    tensor = pf.full(shape, 99.0)
    assert getattr(nn.init, fill)(tensor, *args, **options) is tensor
    return tensor.numpy()


@pytest.mark.parametrize(
    ("fill", "options", "mean", "std"),
    [
        ("normal_", {}, 0.0, 1.0),
        ("normal_", {"mean": 2.0, "std": 0.5}, 2.0, 0.5),
        ("xavier_normal_", {}, 0.0, math.sqrt(2 / (FAN_IN + FAN_OUT))),
        ("xavier_normal_", {"gain": 3.0}, 0.0, 3 * math.sqrt(2 / (FAN_IN + FAN_OUT))),
        ("kaiming_normal_", {}, 0.0, math.sqrt(2 / FAN_IN)),
        ("kaiming_normal_", {"gain": 1.0, "fan": "out"}, 0.0, math.sqrt(1 / FAN_OUT)),
        # Of a normal distribution cut at two deviations on both sides.
        ("trunc_normal_", {}, 0.0, 0.8796),
        ("trunc_normal_", {"std": 0.02, "low": -0.04, "high": 0.04}, 0.0, 0.02 * 0.8796),
    ],
)
def test_normal_distributions(fill, options, mean, std):
    drawn = values(fill, **options)
    assert abs(drawn.mean() - mean) < 5 * std / math.sqrt(drawn.size)
    assert abs(drawn.std() / std - 1) < 5 / math.sqrt(2 * drawn.size)
    if fill == "trunc_normal_":
        assert np.abs(drawn).max() <= options.get("high", 2.0)


@pytest.mark.parametrize(
    ("fill", "options", "low", "high"),
    [
        ("uniform_", {}, 0.0, 1.0),
        ("uniform_", {"low": -3.0, "high": 1.0}, -3.0, 1.0),
        ("xavier_uniform_", {}, -math.sqrt(6 / (FAN_IN + FAN_OUT)), math.sqrt(6 / (FAN_IN + FAN_OUT))),
        ("kaiming_uniform_", {}, -math.sqrt(6 / FAN_IN), math.sqrt(6 / FAN_IN)),
        ("kaiming_uniform_", {"gain": 1.0, "fan": "out"}, -math.sqrt(3 / FAN_OUT), math.sqrt(3 / FAN_OUT)),
    ],
)
def test_uniform_distributions(fill, options, low, high):
    drawn = values(fill, **options)
    width = high - low
    assert low <= drawn.min() < low + 0.01 * width
    assert high - 0.01 * width < drawn.max() <= high
    assert abs(drawn.mean() - (low + high) / 2) < 5 * width / math.sqrt(12 * drawn.size)


def test_constants_and_dtypes():
    assert (values("zeros_") == 0).all()
    assert (values("ones_") == 1).all()
    assert (values("constant_", 2.5) == 2.5).all()
    wide = nn.init.normal_(pf.zeros(4, dtype=pf.float64))
    assert wide.dtype == pf.float64
    weight = nn.Linear(3, 2).weight
    nn.init.ones_(weight)
    assert weight.requires_grad
    assert weight.is_leaf


def test_fill_takes_what_a_module_refuses_over_its_parameter():
    layer = nn.Linear(3, 2)
    rows = np.arange(6.0).reshape(2, 3)
    for given in (rows, rows.tolist(), pf.tensor(rows), pf.tensor(rows, dtype=pf.bfloat16)):
        with pytest.raises(TypeError, match=r"nn\.init\.fill_ writes values"):
            layer.weight = given
        before = layer.weight
        nn.init.fill_(nn.init.zeros_(layer.weight), given)
        assert layer.weight is before
        assert layer.weight.requires_grad
        assert (layer.weight.detach().numpy() == rows).all()
    for given in (0.5, np.float64(0.5), pf.tensor(0.5)):
        assert nn.init.fill_(nn.init.zeros_(layer.bias), given).detach().numpy().tolist() == [0.5, 0.5]
    with pytest.raises(ValueError, match=r"fill_: expected values of shape \(2,\), got \(3,\)"):
        nn.init.fill_(layer.bias, [1.0, 2.0, 3.0])
    with pytest.raises(TypeError, match="numbers"):
        nn.init.fill_(layer.bias, "many")
    with nn.init.skip():
        assert nn.init.fill_(layer.bias, 7.0).detach().numpy().tolist() == [0.5, 0.5]


def test_nothing_is_drawn_inside_skip():
    pf.manual_seed(3)
    expected = pf.randn(4).numpy()
    pf.manual_seed(3)
    with nn.init.skip():
        kept = nn.init.normal_(pf.full((4,), 7.0))
        linear = nn.Linear(3, 2)
    assert (kept.numpy() == 7).all()
    assert (linear.weight.numpy() == 0).all()
    np.testing.assert_array_equal(pf.randn(4).numpy(), expected)


def test_what_is_to_be_replaced_takes_no_memory():
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    before = resident() if sys.platform == "linux" else 0
    with nn.init.skip(untouched=True), nn.init.skip():
        layer = nn.Linear(4096, 4096)
    if sys.platform == "linux":
        assert resident() - before < 16 << 20  # of 64 MiB
    assert layer.weight.requires_grad
    assert not layer.weight.numpy().any()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda t: nn.init.normal_(t, std=-1.0), ValueError, "normal_: std must be 0 or above"),
        (lambda t: nn.init.normal_(t, std="x"), TypeError, "normal_: std must be a number"),
        (lambda t: nn.init.uniform_(t, 2.0, 1.0), ValueError, "uniform_: low must be at most high"),
        (lambda t: nn.init.trunc_normal_(t, std=0.0), ValueError, "trunc_normal_: std must be above 0"),
        (lambda t: nn.init.trunc_normal_(t, low=5.0, high=9.0), ValueError, "must hold 1% of the distribution"),
        (lambda t: nn.init.xavier_normal_(t[0, 0]), ValueError, r"xavier_normal_: tensor must be \(out, in, ...\)"),
        (lambda t: nn.init.kaiming_uniform_(t, fan="both"), ValueError, "fan must be 'in' or 'out'"),
    ],
)
def test_bad_settings(call, error, message):
    with pytest.raises(error, match=message):
        call(pf.zeros(SHAPE))


@pytest.mark.parametrize("model", [GPT, Llama])
def test_parameters_are_counted_without_making_any(model):
    config = {GPT: GPTConfig, Llama: LlamaConfig}[model](61, 24, 2, 4, 32)
    assert config.parameter_count() == model(config).num_parameters()
    huge = GPTConfig(10**9, 10**9, 2, 4, 2**30)
    assert huge.parameter_count() > 2 * 10**9 * 2**30


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_refused(wrong):
    x = pf.zeros(2, 2)
    for call in (
        lambda: nn.init.normal_(x, std=wrong),
        lambda: nn.init.normal_(x, mean=wrong),
        lambda: nn.init.uniform_(x, 0.0, wrong),
        lambda: nn.init.uniform_(x, -1e308, 1e308),
        lambda: nn.init.trunc_normal_(x, std=wrong),
        lambda: nn.init.trunc_normal_(x, low=wrong),
        lambda: nn.init.xavier_normal_(x, gain=wrong),
        lambda: nn.init.kaiming_uniform_(x, gain=wrong),
        lambda: nn.init.normal(2, std=wrong),
        lambda: nn.init.uniform(2, bound=wrong),
    ):
        with pytest.raises(ValueError, match=r"finite|distribution"):
            call()
    assert nn.init.trunc_normal_(x, low=0.0, high=math.inf).min().item() >= 0.0
    assert math.isnan(nn.init.constant_(x, math.nan)[0, 0].item())
